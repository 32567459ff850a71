"""Our vision tower against transformers: every stage, every gradient, every error."""

import copy
import random

import pytest
import torch

from clipnotes.model import VisionEmbeddings, VisionTower
from reference import (
    agree,
    assert_same_stages,
    check_defaults_of_layers,
    pixels,
    tiny_vision,
)

SMALL = {
    "image_size": 8,
    "patch_size": 4,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_reference(seed):
    theirs = tiny_vision(seed)
    images = pixels(theirs.config, seed, batch=1 + seed % 3)
    assert_same_stages(VisionTower.from_transformers(theirs), theirs, images)


@pytest.mark.parametrize("seed", range(100, 120))
def test_equals_the_reference_at_other_sizes(seed):
    draw = random.Random(seed)
    theirs = tiny_vision(seed)
    patch = theirs.config.patch_size
    size = draw.randint(patch, 6 * patch), draw.randint(patch, 6 * patch)
    ours = VisionTower.from_transformers(theirs)
    assert_same_stages(ours, theirs, pixels(theirs.config, seed, size=size), interpolate=True)


@pytest.mark.parametrize("size", [(12, 12), (13, 14), (12, 16), (6, 24), (4, 36), (4, 4), (40, 20)])
def test_interpolates_positions_as_the_reference(size):
    # 6 x 24 and 4 x 36 have as many patches as 12 x 12, and yet another grid.
    theirs = tiny_vision(0, image_size=12, patch_size=4 if size[0] % 4 == 0 else 3)
    ours = VisionTower.from_transformers(theirs)
    assert_same_stages(ours, theirs, pixels(theirs.config, 0, size=size), interpolate=True)


def test_interpolating_to_the_same_size_changes_nothing():
    ours = VisionTower.from_transformers(theirs := tiny_vision(5))
    images = pixels(theirs.config, 5)
    stretched = ours(images, interpolate_pos_encoding=True)
    assert agree(ours(images).last_hidden_state, stretched.last_hidden_state)


def test_vision_emoji_clip(clip):
    model = copy.deepcopy(clip.model).float().requires_grad_(True)
    config = model.config.vision_config
    ours = VisionTower.from_transformers(model)
    assert_same_stages(ours, model, pixels(config, 0))
    other = (config.image_size + config.patch_size, 2 * config.image_size)
    assert_same_stages(ours, model, pixels(config, 1, size=other), interpolate=True)


def test_embeddings_take_images_of_three_colours_and_one_size():
    embed = VisionEmbeddings(image_size=8, patch_size=4, hidden_size=6)
    assert embed(torch.randn(1, 3, 8, 8)).shape == (1, 5, 6)
    with pytest.raises(ValueError, match=r"is 8 x 12 .* made for 8 x 8"):
        embed(torch.randn(1, 3, 8, 12))


def test_a_new_class_token_is_about_as_long_in_every_width():
    """About 1, as in a new tower of transformers."""
    torch.manual_seed(0)
    for width in (256, 4096):
        embed = VisionEmbeddings(image_size=4, patch_size=4, hidden_size=width)
        assert embed.class_embedding.norm().item() == pytest.approx(1, abs=0.2)


def test_defaults_are_vit_b_32():
    with torch.device("meta"):
        tower = VisionTower()
    assert sum(weight.numel() for weight in tower.parameters()) == 87_456_000  # as published
    assert tower.embeddings.position_ids.shape == (1, 50)
    assert (tower.embeddings.image_size, tower.embeddings.patch_size) == (224, 32)
    assert tower.encoder.layers[0].self_attn.num_heads == 12
    check_defaults_of_layers(tower)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (None, r"no image was given: pass pixel_values of shape \(B, 3, 8, 8\)"),
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\) has 3 dimensions.*\(B, 3, 8, 8\).*unsqueeze\(0\)"),
        (torch.zeros(0, 3, 8, 8), r"\(0, 3, 8, 8\) holds no image.*B at least 1"),
        (torch.zeros(1, 8, 8, 3), r"\(1, 8, 8, 3\) has 8 channels.*\(B, 3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 12), r"is 8 x 12 .* for 8 x 8.*interpolate_pos_encoding=True"),
        (torch.zeros(1, 3, 12, 8), r"is 12 x 8 .* for 8 x 8.*interpolate_pos_encoding=True"),
    ],
)
def test_wrong_images_are_named_before_any_work(images, says):
    tower = VisionTower(**SMALL)
    tower.embeddings.patch_embedding.forward = None  # any work would fail with something else
    with pytest.raises(ValueError, match=says):
        tower(images)


def test_an_image_smaller_than_a_patch_is_named():
    with pytest.raises(ValueError, match=r"is 8 x 3 and a patch is 4 x 4"):
        VisionTower(**SMALL)(torch.zeros(1, 3, 8, 3), interpolate_pos_encoding=True)
    with pytest.raises(ValueError, match=r"image_size 3 is less than patch_size 4"):
        VisionEmbeddings(image_size=3, patch_size=4, hidden_size=8)


@pytest.mark.parametrize(
    ("size", "value"),
    [
        ("num_attention_heads", 0),
        ("patch_size", 0),
        ("hidden_size", 0),
        ("num_hidden_layers", -1),
        ("num_channels", 0),
    ],
)
def test_a_size_below_one_is_named(size, value):
    with pytest.raises(ValueError, match=f"{size} is {value}: it must be at least 1"):
        VisionTower(**{size: value})


def test_pixels_must_be_a_tensor():
    with pytest.raises(TypeError, match="pixel_values is a list"):
        VisionTower(**SMALL)([[1.0]])


def test_an_image_of_equal_area_is_of_another_size():
    tower = VisionTower.from_transformers(tiny_vision(0, image_size=8, patch_size=2))
    with pytest.raises(ValueError, match="the image is 4 x 16 and the model is made for 8 x 8"):
        tower(torch.randn(1, 3, 4, 16))
