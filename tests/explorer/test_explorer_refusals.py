"""What the explorers refuse: pages that would be too large, what is no image, text or CLIP."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from clipnotes import Clip, compat
from clipnotes.explorer import explore, explore_text
from pages import weights_of
from reference import pixels
from tiny_clip import tiny


def test_a_page_over_the_limit_says_what_to_leave_out():
    """As many tokens, heads and layers as ViT-B/16, in a narrow model."""
    shape = {"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 12}
    large = tiny(0, **shape, image_size=28, patch_size=2)
    image = pixels(large.model.config.vision_config, 0, batch=1)
    said = (
        r"page would have 7\.4\d MB, and at most 1 MB is allowed: 12 layers of 12 heads over 197 "
        r"tokens take 7\.45 MB, 0\.62 MB each\. Choose at most 1 of the layers, for instance "
        r"layers=\[11\]"
    )
    with pytest.raises(ValueError, match=said):
        explore(large, image)
    assert weights_of(explore(large, image, layers=[11]).html).shape == (1, 12, 197, 197)


def test_a_model_of_which_no_layer_fits():
    huge = tiny(0, hidden_size=16, num_attention_heads=16, image_size=34, patch_size=2)
    image = pixels(huge.model.config.vision_config, 0, batch=1)
    with pytest.raises(ValueError, match="Not even one layer fits"):
        explore(huge, image)


def test_vit_b_32_fits():
    shape = {"hidden_size": 48, "num_attention_heads": 12, "num_hidden_layers": 12}
    model = tiny(0, **shape, image_size=224, patch_size=32)
    drawn = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    photo = Image.fromarray(drawn).resize((300, 250), Image.Resampling.BICUBIC)
    page = explore(model, photo, ["abc", "cab"])
    assert weights_of(page.html).shape == (12, 12, 50, 50)


PICTURE = Image.new("RGB", (64, 64), "red")

NOT_ONE = [
    ([PICTURE], TypeError, "image is a list; give one PIL image"),
    (None, TypeError, "image is a NoneType"),
    (np.zeros((64, 64, 3)), TypeError, "image is a ndarray"),
    (torch.zeros(3, 64, 64, dtype=torch.uint8), TypeError, r"torch\.uint8; give floating-point"),
    (torch.zeros(2, 3, 64, 64), ValueError, r"shape \(2, 3, 64, 64\); one image of this model"),
    (torch.zeros(3, 32, 64), ValueError, r"shape \(1, 3, 32, 64\); one image of this model"),
    (torch.full((3, 64, 64), torch.nan), ValueError, "hold NaN"),
    (Image.new("RGB", (0, 5)), ValueError, "0 x 5 pixels"),
]


@pytest.mark.parametrize(("image", "error", "said"), NOT_ONE)
def test_what_is_no_picture_is_refused(clip, image, error, said):
    with pytest.raises(error, match=said):
        explore(clip, image)


@pytest.mark.parametrize(
    ("layers", "error"),
    [
        *(([], ValueError), ([6], ValueError), ([-1], ValueError), ([1, 1], ValueError)),
        *((3, TypeError), ("12", TypeError), ([0.5], TypeError)),
    ],
)
def test_layers_that_are_not_there_are_refused(clip, layers, error):
    with pytest.raises(error, match=r"layers is .*; give"):
        explore(clip, PICTURE, layers=layers)
    with pytest.raises(error, match=r"layers is .*; give"):
        explore_text(clip, "a tiger", layers=layers)


def test_texts_are_looked_at(clip):
    with pytest.raises(TypeError, match="one text was given"):
        explore(clip, PICTURE, "a tiger")
    with pytest.raises(ValueError, match="no text"):
        explore(clip, PICTURE, [])
    with pytest.raises(TypeError, match="text is a list; give one string"):
        explore_text(clip, ["a tiger"])
    with pytest.raises(ValueError, match="has 42 tokens, and this model has 32"):
        explore_text(clip, "tiger " * 40)


def test_only_a_clip_in_evaluation_mode(clip):
    for make in (lambda c: explore(c, PICTURE), lambda c: explore_text(c, "a tiger")):
        with pytest.raises(TypeError, match="clip is a CLIPModel; give a Clip"):
            make(clip.model)
        model = copy.deepcopy(clip.model)
        model.vision_model.encoder.layers[0].train()
        with pytest.raises(ValueError, match="in training mode"):
            make(Clip(model, clip.tokenizer, clip.image_processor))


def test_a_broken_model_is_named(clip):
    model = copy.deepcopy(clip.model)
    broken = Clip(model, clip.tokenizer, clip.image_processor)
    with torch.no_grad():
        model.visual_projection.weight.fill_(torch.inf)
    explore(broken, PICTURE)
    with pytest.raises(ValueError, match="features that are not numbers"):
        explore(broken, PICTURE, ["a tiger"])
    with torch.no_grad():
        for tower in (compat.vision_tower(model), compat.text_tower(model)):
            tower.encoder.layers[1].self_attn.q_proj.weight.fill_(torch.nan)
    for make in (lambda: explore(broken, PICTURE), lambda: explore_text(broken, "a tiger")):
        with pytest.raises(ValueError, match="attention weights that are not numbers"):
            make()
