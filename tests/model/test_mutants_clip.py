"""Break what comes after the towers on purpose: the comparison must notice, and say where."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F

import clipnotes.model.clip
from clipnotes.model import CLIP
from reference import pixels
from reference_text import assert_same_clip, random_clip, texts


def after(module, change):
    """Change what a module returns."""
    original = module.forward
    module.forward = lambda *args, **kwargs: change(original(*args, **kwargs))


def check_clip(mutate=None):
    theirs = random_clip(3)
    ours = CLIP.from_transformers(theirs)
    if mutate is not None:
        mutate(ours)
    inputs = texts(theirs.config.text_config, 3, batch=4)
    assert_same_clip(ours, theirs, inputs, pixels(theirs.config.vision_config, 3, batch=4))


def test_unbroken_clip_control():
    check_clip()


def text_projection_with_a_bias(clip):
    after(clip.text_projection, lambda x: x + 0.01)


def image_projection_turned(clip):
    after(clip.visual_projection, lambda x: x.flip(-1))


def half_the_logits(clip):
    after(clip, lambda out: out._replace(logits_per_text=out.logits_per_text / 2))


def other_temperature(clip):
    clip.logit_scale.data += 0.1


def logits_not_transposed(clip):
    after(clip, lambda out: out._replace(logits_per_image=out.logits_per_text))


def loss_of_texts_only(clip):
    right = torch.arange(4)
    after(clip, lambda out: out._replace(loss=F.cross_entropy(out.logits_per_text, right)))


def half_the_loss(clip):
    after(clip, lambda out: out._replace(loss=out.loss / 2))


def frozen_temperature(clip):
    clip.logit_scale.exp = lambda: torch.exp(clip.logit_scale.detach())


def detached_images(clip):
    after(clip.vision_model, lambda out: out._replace(pooler_output=out.pooler_output.detach()))


@pytest.mark.parametrize(
    ("mutate", "stage"),
    [
        (text_projection_with_a_bias, "projected texts"),
        (image_projection_turned, "projected images"),
        (half_the_logits, "logits_per_text"),
        (other_temperature, "logits_per_text"),
        (logits_not_transposed, "logits_per_image"),
        (loss_of_texts_only, "loss"),
        (half_the_loss, "loss"),
        (frozen_temperature, "gradient of logit_scale"),
        (detached_images, "gradient of vision_model"),
    ],
)
def test_broken_clips_are_noticed(mutate, stage):
    with pytest.raises(AssertionError, match=f"^{stage}"):
        check_clip(mutate)


@pytest.mark.parametrize("broken", [lambda x: x, lambda x: x / x.abs().sum(-1, keepdim=True)])
def test_other_lengths_than_one_are_noticed(broken):
    with (
        patch.object(clipnotes.model.clip, "unit_length", broken),
        pytest.raises(AssertionError, match=r"^unit length of texts"),
    ):
        check_clip()
