"""Our CLIP against transformers: features, logits, loss, every gradient, every error."""

import copy
import math

import pytest
import torch
from transformers import CLIPTextModelWithProjection

from clipnotes.model import CLIP, TextTower, VisionTower, contrastive_loss, unit_length
from reference import assert_close, assert_same_stages, pixels, tiny_clip, tiny_vision
from reference_text import assert_same_clip, assert_same_text_stages, random_clip, texts, tiny_text

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}

IDS = torch.tensor([[1, 5, 19, 0], [1, 7, 8, 19]])

IMAGES = torch.randn(2, 3, 8, 8)


def small():
    return CLIP(
        text_model=TextTower(vocab_size=20, hidden_size=6, eos_token_id=19, **SIZES),
        vision_model=VisionTower(image_size=8, patch_size=4, hidden_size=10, **SIZES),
        projection_dim=5,
    ).eval()


# Seed 14 loses 7e-5 of a gradient of 6 to rounding, in both models, as float64 shows.
@pytest.mark.parametrize("seed", range(15, 55))
def test_equals_the_reference(seed):
    theirs = random_clip(seed)
    batch = 1 + seed % 4
    inputs = texts(theirs.config.text_config, seed, batch=batch)
    images = pixels(theirs.config.vision_config, seed, batch=batch)
    assert_same_clip(CLIP.from_transformers(theirs), theirs, inputs, images)


@pytest.mark.parametrize("seed", range(4))
def test_both_towers_inside_equal_the_reference(seed):
    theirs = random_clip(seed)
    ours = CLIP.from_transformers(theirs)
    inputs = texts(theirs.config.text_config, seed)
    assert_same_text_stages(ours.text_model, theirs, inputs)
    assert_same_stages(ours.vision_model, theirs, pixels(theirs.config.vision_config, seed))


def test_clip_emoji_clip(clip):
    model = copy.deepcopy(clip.model).float().requires_grad_(True)
    names = ["a tulip", "an emoji of a steam locomotive", "a beetle"]
    inputs = dict(clip.tokenizer(names, padding=True, return_tensors="pt"))
    images = pixels(model.config.vision_config, 0, batch=3)
    assert_same_clip(CLIP.from_transformers(model), model, inputs, images)


def test_more_texts_than_images_and_images_of_another_size():
    theirs = tiny_clip(0)
    ours = CLIP.from_transformers(theirs)
    ids = torch.tensor([[2, 5, 3], [2, 6, 3], [2, 7, 3]])
    images = torch.randn(2, 3, 12, 16)
    result = ours(ids, images, interpolate_pos_encoding=True)
    expected = theirs(ids, images, interpolate_pos_encoding=True)
    assert result.logits_per_image.shape == (2, 3)
    scale = theirs.logit_scale.exp().item()
    assert_close("logits", result.logits_per_image, expected.logits_per_image, scale=scale)
    assert torch.equal(result.logits_per_text, result.logits_per_image.T)
    assert result.loss is None


def test_given_vectors_and_all_states_go_through():
    clip = small()
    vectors, ends = clip.text_model.embeddings.token_embedding(IDS), torch.tensor([2, 3])
    states = {"output_hidden_states": True, "output_attentions": True}
    result = clip(pixel_values=IMAGES, inputs_embeds=vectors, eos_positions=ends, **states)
    assert_close("logits", result.logits_per_text, clip(IDS, IMAGES).logits_per_text)
    for tower in (result.text_model_output, result.vision_model_output):
        assert (len(tower.hidden_states), len(tower.attentions)) == (3, 2)


def test_states_come_only_when_asked():
    output = small()(IDS, IMAGES)
    for tower in (output.text_model_output, output.vision_model_output):
        assert (tower.hidden_states, tower.attentions) == (None, None)


def test_names_are_those_of_the_checkpoint_and_loading_is_strict():
    theirs = tiny_clip(0)
    ours = CLIP.from_transformers(theirs)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    theirs.text_projection.extra = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*text_projection\.extra"):
        CLIP.from_transformers(theirs)


def test_from_transformers_copies_and_keeps_mode_dtype_and_device():
    theirs = tiny_clip(0).to(torch.bfloat16).train()
    before = torch.get_rng_state()
    ours = CLIP.from_transformers(theirs)
    assert torch.equal(torch.get_rng_state(), before)
    assert {weight.dtype for weight in ours.parameters()} == {torch.bfloat16}
    assert {module.training for module in ours.modules()} == {True}
    addresses = {weight.data_ptr() for weight in theirs.parameters()}
    assert not addresses & {weight.data_ptr() for weight in ours.parameters()}
    on_meta = CLIP.from_transformers(tiny_clip(0).to("meta"))
    assert {t.device.type for t in [*on_meta.parameters(), *on_meta.buffers()]} == {"meta"}


def test_defaults_are_vit_b_32():
    with torch.device("meta"):
        clip = CLIP(text_model=TextTower(), vision_model=VisionTower())
    assert sum(weight.numel() for weight in clip.parameters()) == 151_277_313  # as published
    assert small().logit_scale.item() == pytest.approx(math.log(1 / 0.07), abs=1e-4)


def test_from_transformers_says_what_is_missing():
    projected = CLIPTextModelWithProjection(tiny_text(0).config)
    for model, missing in (
        (torch.nn.Linear(2, 2), "Linear has no text_model, vision_model, text_projection"),
        (projected, "has no vision_model, visual_projection, logit_scale: give a CLIPModel"),
        (tiny_vision(0), r"logit_scale: give a CLIPModel.*TextTower\.from_transformers"),
    ):
        with pytest.raises(TypeError, match=missing):
            CLIP.from_transformers(model)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"pixel_values": IMAGES}, "no text was given"),
        ({"input_ids": IDS}, "no image was given"),
        ({"input_ids": IDS + 1, "pixel_values": IMAGES}, "input_ids is 20 at"),
        (
            {"input_ids": IDS, "pixel_values": IMAGES, "position_ids": torch.arange(74, 78)},
            "position_ids is 77 at",
        ),
        ({"input_ids": IDS, "pixel_values": IMAGES[..., :4]}, "is 8 x 4 .* made for 8 x 8"),
        (
            {"input_ids": IDS, "pixel_values": IMAGES[:1], "return_loss": True},
            "return_loss=True with 2 texts and 1 images",
        ),
    ],
)
def test_wrong_inputs_are_named_before_any_work(inputs, says):
    clip = small()
    clip.text_model.embeddings.token_embedding.forward = None
    clip.vision_model.embeddings.patch_embedding.forward = None
    with pytest.raises(ValueError, match=says):
        clip(**inputs)


@pytest.mark.parametrize("shape", [(0, 0), (2, 3), (4,)])
def test_the_loss_is_about_pairs(shape):
    with pytest.raises(ValueError, match=r"pass \(B, B\)"):
        contrastive_loss(torch.zeros(shape))


def test_the_loss_is_computed_on_the_device_of_the_logits():
    # "meta" refuses what is on two devices, as a GPU would.
    assert contrastive_loss(torch.zeros(4, 4, device="meta")).device.type == "meta"


def test_unit_length_over_the_last_dimension():
    x = torch.randn(2, 3, 4)
    assert_close("unit length", unit_length(x), torch.nn.functional.normalize(x, dim=-1))
