"""Relatives of CLIP: copied and prompted with the numbers of transformers, or refused."""

import pytest
import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import BertConfig, BertModel, CLIPTextModel

import clipnotes
from clipnotes.compat import text_features, text_projection, text_tower, vision_tower
from clipnotes.compat.carried import TEXT, VISION, check_copyable, end_rule, family
from clipnotes.model import CLIP, TextTower, VisionTower, eos_positions
from clipnotes.prompts import LearnableTextEmbeddings, PromptLearner, inject
from reference import assert_close, randomise
from reference_text import tiny_text

HERE = Version(transformers.__version__)
# Which family has CLIP's text tower, its vision tower, all of CLIP.
FAMILIES = {
    "AltCLIP": ("altclip", False, True, False),
    "CLIP": ("clip", True, True, True),
    "CLIPSeg": ("clipseg", True, True, True),
    "ChineseCLIP": ("chinese_clip", False, True, False),
    "GroupViT": ("groupvit", True, False, False),
    "OwlViT": ("owlvit", True, False, False),
    "Owlv2": ("owlv2", True, False, False),
    "Siglip": ("siglip", False, False, False),
    "XCLIP": ("x_clip", True, False, False),
}
if Version("4.56") <= HERE:  # older ones do not know it
    FAMILIES["MetaClip2"] = ("metaclip_2", True, True, True)

SIZES = {
    "hidden_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 16,
    "hidden_act": "gelu",
}
PICTURE = {"image_size": 8, "patch_size": 4}
GROUPS = {"depths": [1, 1, 1], "num_group_tokens": [4, 2, 0], "num_output_groups": [4, 2, 0]}
FRAMES = {"mit_hidden_size": 12, "mit_num_attention_heads": 2, "num_frames": 2}
# 2 and 3 may be the end, 19 is the largest id. Each rule reads these out at places of its own.
IDS = torch.tensor([[1, 7, 2, 19, 3, 0], [1, 19, 3, 2, 3, 0], [1, 5, 6, 7, 19, 2]])


def tiny_of(name, eos_token_id):
    """A small random model of a family."""
    text = {"vocab_size": 20, "max_position_embeddings": 9, "eos_token_id": eos_token_id}
    vision = PICTURE | (GROUPS if name == "GroupViT" else FRAMES if name == "XCLIP" else {})
    more = {"prompt_num_attention_heads": 2} if name == "XCLIP" else {}
    config = getattr(transformers, f"{name}Config")(
        text_config=SIZES | text | {"bos_token_id": 1, "pad_token_id": 0},
        vision_config=SIZES | vision,
        projection_dim=6,
        **more,
    )
    return randomise(getattr(transformers, f"{name}Model")(config), 1)


def test_the_families_are_those_that_are_tried_here():
    kinds = FAMILIES | {"MetaClip2": ("metaclip_2", True, True, True)}
    assert {kind for kind, text, _, _ in kinds.values() if text} == TEXT
    assert {kind for kind, _, vision, _ in kinds.values() if vision} == VISION
    assert hasattr(transformers, "MetaClip2Model") == ("MetaClip2" in FAMILIES)


@pytest.mark.parametrize("eos_token_id", [2, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_copied_with_its_numbers_or_refused(name, eos_token_id):
    model = tiny_of(name, eos_token_id)
    kind, has_text, has_vision, is_clip = FAMILIES[name]
    assert family(model) == kind
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for is_copied, find, build, inputs in (
            (has_text, text_tower, TextTower, IDS),
            (has_vision, vision_tower, VisionTower, images),
        ):
            if is_copied:
                theirs, ours = find(model)(inputs), build.from_transformers(model)(inputs)
                assert_close("states", ours.last_hidden_state, theirs[0])
                assert_close("pooled", ours.pooler_output, theirs[1])
            else:
                with pytest.raises(TypeError, match=r"no CLIP \w+ tower|not compute as CLIP's"):
                    build.from_transformers(model)
        if is_clip:
            theirs = model(input_ids=IDS, pixel_values=images)
            ours = CLIP.from_transformers(model)(IDS, images)
            assert_close("logits", ours.logits_per_image, theirs.logits_per_image)
        else:
            with pytest.raises(TypeError):
                CLIP.from_transformers(model)


@pytest.mark.parametrize("eos_token_id", [2, 3])
@pytest.mark.parametrize("name", [name for name, kind in FAMILIES.items() if kind[1]])
def test_where_a_family_reads_a_text_out(name, eos_token_id):
    tower = text_tower(tiny_of(name, eos_token_id))
    with torch.no_grad():
        states, pooled = tower(input_ids=IDS)[:2]
    found = eos_positions(IDS, *end_rule(tower))
    assert_close("pooled", states[torch.arange(3), found], pooled)
    largest = [3, 1, 4]
    if name in ("OwlViT", "Owlv2", "XCLIP") or (eos_token_id == 2 and name != "MetaClip2"):
        assert found.tolist() == largest
    else:
        assert found.tolist() == {2: [2, 3, 5], 3: [4, 2, 0]}[eos_token_id]


@pytest.mark.parametrize("name", [name for name, kind in FAMILIES.items() if kind[1]])
def test_vectors_are_injected_into_a_family_and_never_where_it_reads_out(name):
    model = tiny_of(name, 3)
    tower, ids = text_tower(model), IDS[1:2]  # the largest id at 1, 3 at 2
    vectors = tower.embeddings.token_embedding.weight[ids[0, 3:5]].detach()
    with torch.no_grad():
        plain = tower(input_ids=ids)[0]
        with inject(model, vectors, start=3):
            assert_close("states", tower(input_ids=ids)[0], plain)
    end = 1 if name in ("OwlViT", "Owlv2", "XCLIP") else 2
    with (
        inject(model, vectors, start=end),
        pytest.raises(ValueError, match=f"text 0 is read out at place {end}"),
    ):
        tower(input_ids=ids)


def test_into_a_family_that_is_not_known_nothing_is_injected():
    model = BertModel(BertConfig(**SIZES, vocab_size=20))
    ctx = torch.zeros(2, 12)
    said = r"a Bert\w+ is of the family 'bert' of transformers.*: altclip, chinese_clip, clip, "
    with pytest.raises(TypeError, match=said), inject(model, ctx):
        pass
    with pytest.raises(TypeError, match=said):
        LearnableTextEmbeddings.replace(model)
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(TypeError, match=r"family that|not compute as CLIP's.*: altclip, chinese_"):
        check_copyable(model, "tower", VISION)


def test_a_tower_that_does_not_know_its_end_token_says_so():
    ctx = torch.zeros(2, 12)
    model = tiny_of("CLIP", 3)
    tower = text_tower(model)
    for nothing in (None, "3"):
        tower.eos_token_id = nothing
        for use in (TextTower.from_transformers, lambda m: inject(m, ctx).__enter__()):
            with pytest.raises(ValueError, match=rf"eos_token_id {nothing!r}.*set model\.text_mod"):
                use(model)
    del tower.eos_token_id
    with pytest.raises(ValueError, match="eos_token_id None"):
        end_rule(tower)
    tower.eos_token_id = 3  # as the message says
    with inject(model, ctx):
        tower(input_ids=torch.tensor([[1, 5, 6, 3]]))


def test_of_a_subclass_the_code_that_it_runs_counts():
    class Named(CLIPTextModel):
        pass

    class Other(CLIPTextModel):
        def forward(self, *args, **kwargs):
            return super().forward(*args, **kwargs)

    config = tiny_text(0).config
    assert family(Named(config)) == "clip" and family(Other(config)) is None
    assert family(torch.compile(nn.Linear(2, 2))) is None
    TextTower.from_transformers(Named(config))
    model = Other(config)
    if text_tower(model) is model:  # in older versions the tower inside is transformers' own
        with pytest.raises(TypeError, match=r"text tower computes with .*Other, not as transf"):
            TextTower.from_transformers(model)


@pytest.mark.parametrize("name", ["CLIPSeg", "OwlViT"] + ["MetaClip2"] * ("MetaClip2" in FAMILIES))
def test_prompts_on_another_family_are_its_own_texts(clip, name):
    """Its tokenizer's end token decides, as for CLIP: here Emoji-CLIP's, with the same ids."""
    text = clip.model.config.text_config
    model = tiny_of(name, 2)
    tower = text_tower(model)
    generator = torch.Generator().manual_seed(2)
    for table in ("token_embedding", "position_embedding"):
        rows = torch.randn(text.vocab_size, 12, generator=generator)
        setattr(tower.embeddings, table, nn.Embedding.from_pretrained(rows))
    tower.embeddings.position_ids = torch.arange(text.vocab_size)[None]
    both = clipnotes.Clip(model, clip.tokenizer, clip.image_processor)
    model.config.text_config.max_position_embeddings = 32
    learner = PromptLearner(both, ["rose", "tulip"], init="a photo of a", fast=False)
    plain = both.encode_text(["a photo of a rose.", "a photo of a tulip."])
    assert_close("features", learner(), plain)


def test_a_projection_that_is_no_matrix_is_no_projection_of_clip(clip):
    model = tiny_of("GroupViT", 3)
    assert text_features(model, IDS).shape == (3, 6)  # its own, as it computes it
    with pytest.raises(TypeError, match="text_projection of a GroupViTModel is a Sequential"):
        text_projection(model)
    other = clipnotes.Clip(model, clip.tokenizer, clip.image_processor)
    with pytest.raises(TypeError, match="is a Sequential"):
        PromptLearner(other, ["rose", "tulip"])
