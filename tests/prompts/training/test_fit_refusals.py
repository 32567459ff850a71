"""What fit() refuses before it begins, and what stops it: nothing half done is left."""

import functools

import pytest
import torch
from PIL import Image

from clipnotes.prompts import PromptLearner, random_crop_and_flip
from few_pictures import CLASSES, pictures, quiet, small_learner
from reference import agree


class Breaks(PromptLearner):
    """Its third logits, or their gradient, are not finite."""

    calls = 0
    how = "loss"

    def logits(self, image_features):
        self.calls += 1
        logits = super().logits(image_features)
        if self.calls < 3:
            return logits
        if self.how == "loss":
            return logits * torch.nan
        return logits + (self.ctx.sum() * 0).sqrt()  # 0, but its slope is infinite


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("loss", r"the loss is nan at step 3 \(epoch 2 of 4\).*smaller lr"),
        ("gradient", r"the gradient is not finite at step 3 \(epoch 2 of 4\)"),
    ],
)
def test_what_is_not_finite_stops_with_the_last_context_that_was(clip, shots, how, words):
    features, names = shots
    learner = Breaks(clip, CLASSES, n_ctx=2)
    learner.how = how
    with pytest.raises(FloatingPointError, match=words):
        quiet(learner, features, names, epochs=4, batch_size=8)
    expected = small_learner(clip)
    quiet(expected, features, names, epochs=1, batch_size=8)
    assert agree(learner.ctx, expected.ctx, 1e-4)


def test_steps_are_counted_inside_an_epoch_too(clip, shots):
    learner = Breaks(clip, CLASSES, n_ctx=2)
    learner.how = "loss"
    with pytest.raises(FloatingPointError, match=r"at step 3 \(epoch 1 of 4\)"):
        quiet(learner, *shots, epochs=4, batch_size=4)


def test_a_step_too_far_is_taken_back(clip, shots):
    learner = small_learner(clip)
    start = learner.ctx.detach().clone()
    decay = functools.partial(torch.optim.SGD, weight_decay=1e6)
    with pytest.raises(FloatingPointError, match="parameters would not be finite at step 1 "):
        quiet(learner, *shots, optimizer=decay, lr=1e38, epochs=4, schedule="constant")
    assert torch.equal(learner.ctx, start)


UNIT, NUMBERS = torch.eye(128)[:5], [0, 1, 2, 3, 4]

PICTURES = [Image.new("RGB", (8, 8))] * 5


@pytest.mark.parametrize(
    ("images", "labels", "recipe", "error", "words"),
    [
        (UNIT, [0, 1, 2, 3, 3], {}, ValueError, "the class 'tomato' has no image"),
        (UNIT, [0, 1, 2, 3], {}, ValueError, "5 images and 4 labels"),
        (UNIT * 3, NUMBERS, {}, ValueError, "length 3"),
        (UNIT, NUMBERS, {"epochs": 0}, ValueError, "epochs is 0"),
        (UNIT, NUMBERS, {"epochs": 2.0}, ValueError, "epochs is 2.0"),
        (UNIT, NUMBERS, {"lr": 0}, ValueError, "lr is 0"),
        (UNIT, NUMBERS, {"lr": float("nan")}, ValueError, "lr is nan"),
        (UNIT, NUMBERS, {"lr": "big"}, ValueError, "lr is 'big'"),
        (UNIT, NUMBERS, {"batch_size": 0}, ValueError, "batch_size is 0"),
        (UNIT, NUMBERS, {"batch_size": 1.5}, TypeError, "batch_size is 1.5"),
        (UNIT, NUMBERS, {"seed": None}, TypeError, "seed is None"),
        (UNIT, NUMBERS, {"schedule": "linear"}, ValueError, "'linear'; choose 'cosine' or"),
        (UNIT, NUMBERS, {"schedule": 3}, TypeError, "schedule is a int"),
        (UNIT, NUMBERS, {"schedule": lambda e: -1}, ValueError, "factor of epoch 0 is -1"),
        (UNIT, NUMBERS, {"schedule": lambda e: 1e400}, ValueError, "factor of epoch 0 is inf"),
        (UNIT, NUMBERS, {"optimizer": list}, TypeError, "optimizer made a list"),
        (UNIT, NUMBERS, {"views": 2}, ValueError, "views is 2 and augment is None"),
        (UNIT, NUMBERS, {"augment": random_crop_and_flip}, ValueError, "a tensor cannot be"),
        (PICTURES, NUMBERS, {"augment": "flip"}, TypeError, "augment is a str"),
        (
            PICTURES,
            NUMBERS,
            {"augment": random_crop_and_flip, "views": 0},
            ValueError,
            "views is 0; give a whole number",
        ),
        (
            [*PICTURES[:4], "last"],
            NUMBERS,
            {"augment": random_crop_and_flip, "batch_size": 1},
            TypeError,
            "image 4: a str",
        ),
    ],
)
def test_what_it_cannot_take(clip, images, labels, recipe, error, words):
    learner = small_learner(clip)
    start = learner.ctx.detach().clone()
    with pytest.raises(error, match=words):
        quiet(learner, images, labels, **{"epochs": 2, **recipe})
    assert torch.equal(learner.ctx, start)


@pytest.mark.parametrize(
    ("recipe", "error", "words"),
    [
        ({"epochs": True}, ValueError, "epochs is True; give a whole number"),
        ({"epochs": -1}, ValueError, "epochs is -1"),
        ({"batch_size": True}, TypeError, "batch_size is True"),
        ({"seed": True}, TypeError, "seed is True"),
        ({"seed": 1.0}, TypeError, "seed is 1.0"),
        ({"batch_size": -1}, ValueError, "batch_size is -1; it must be at least 1"),
        ({"lr": float("inf")}, ValueError, "lr is inf"),
        ({"lr": -0.1}, ValueError, "lr is -0.1"),
        ({"schedule": "COSINE"}, ValueError, "no schedule 'COSINE'; choose 'cosine' or 'constant'"),
        ({"schedule": None}, TypeError, "schedule is a NoneType; choose 'cosine' or 'constant', "),
        (
            {"schedule": lambda epoch: 1 - epoch},
            ValueError,
            "factor of epoch 2 is -1.0; it must be finite and not negative",
        ),
    ],
)
def test_recipes_that_make_no_sense(clip, recipe, error, words):
    with pytest.raises(error, match=words):
        quiet(small_learner(clip), *pictures(clip, 5), **{"epochs": 3, **recipe})


def test_a_learner_with_nothing_to_learn(clip):
    learner = small_learner(clip).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that wants a gradient"):
        quiet(learner, UNIT, NUMBERS)
