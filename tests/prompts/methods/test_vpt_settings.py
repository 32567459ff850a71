"""VPT and MaPLe: what stands for an argument that is not given, towers that differ, precisions."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

import clipnotes
from clipnotes.prompts import VPT, MaPLe, ZeroShot, load_prompt
from few_pictures import CLASSES, fruits
from reference import agree, assert_close
from saved_prompts import changed

NAMES = ["tulip", "steam locomotive"]
SENTENCE = "a photo of a {}."


def with_layers(clip, text, vision):
    """A random CLIP that reads Emoji-CLIP's tokens, with so many layers in each tower."""
    small = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
    tokens = {"vocab_size": 4000, "bos_token_id": 3998, "eos_token_id": 3999}
    config = CLIPConfig(
        text_config={**small, **tokens, "num_hidden_layers": text},
        vision_config={**small, "num_hidden_layers": vision, "image_size": 64, "patch_size": 32},
        projection_dim=4,
    )
    return clipnotes.Clip(CLIPModel(config), clip.tokenizer, clip.image_processor)


@pytest.mark.parametrize("kind", [VPT, MaPLe])
def test_without_a_seed_it_is_seed_0(clip, kind):
    one, twin = kind(clip, NAMES), kind(clip, NAMES, seed=0)
    for mine, same in zip(one.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, same)


def test_the_words_without_an_argument_are_those_of_the_authors(clip):
    assert VPT(clip, NAMES).templates == [SENTENCE]
    assert agree(VPT(clip, NAMES)(), ZeroShot(clip, NAMES, SENTENCE).class_features)
    assert MaPLe(clip, NAMES).template == "of a {}."


def test_one_template_is_saved_and_comes_back(clip, tmp_path):
    vpt = VPT(clip, NAMES, templates="an emoji of a {}")
    vpt.save(tmp_path)
    back = load_prompt(tmp_path, clip)
    assert back.templates == vpt.templates == ["an emoji of a {}"]
    assert agree(back(), vpt())


@pytest.mark.parametrize(("text", "vision"), [(2, 4), (4, 2)])
def test_maple_goes_as_deep_as_both_towers_and_no_deeper(clip, text, vision):
    uneven = with_layers(clip, text, vision)
    assert MaPLe(uneven, NAMES).depth == 2
    tower = "text" if text < vision else "vision"
    with pytest.raises(ValueError, match=f"depth is 3, and the {tower} tower has 2 layers"):
        MaPLe(uneven, NAMES, depth=3)


@pytest.mark.parametrize("kind", [VPT, MaPLe])
def test_a_model_in_double_precision(clip, kind):
    double = changed(clip, lambda model: model.double())
    try:
        double.encode_text(["a tulip"])
    except RuntimeError as error:  # 4.x makes the causal mask in float32
        pytest.skip(f"the text tower of this transformers has no double precision: {error}")
    images, _ = fruits()
    found, expected = (
        learner.logits(learner.inputs(images[:2]))
        for learner in (kind(c, CLASSES) for c in (double, clip))
    )
    assert_close("logits", found.float(), expected)


def test_many_pictures_are_prepared_and_stay_in_order(clip):
    images, _ = fruits()
    whole = clip.preprocess(images[:5])
    assert agree(VPT(clip, NAMES).inputs(images[:5]), whole)
