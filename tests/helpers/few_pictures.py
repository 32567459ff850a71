"""What the tests of training, evaluation and baselines share: a few fruits, few classes."""

import functools

import torch
import torch.nn.functional as F

from clipnotes import compat
from clipnotes.data import load_emoji
from clipnotes.prompts import PromptLearner, fit

CLASSES = ["grapes", "melon", "banana", "cherries", "tomato"]
STYLES = ["noto", "fxemoji", "emojione"]
TEMPLATE = "an emoji of a {}."

quiet = functools.partial(fit, progress=False)


def fruits(styles=STYLES):
    """Images and names: each class once in each style."""
    rows = load_emoji(style=styles, category="food-fruit")
    chosen = [i for i, name in enumerate(rows["name"]) if name in CLASSES]
    rows = rows.select(chosen)
    assert len(rows) == len(CLASSES) * len(styles)
    return list(rows["image"]), list(rows["name"])


def small_learner(clip, **arguments):
    return PromptLearner(clip, CLASSES, n_ctx=2, **arguments)


def pictures(clip, n, seed=0):
    """Features of unit length, and a class for each, every class at least once."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(n, clip.model.config.projection_dim, generator=draw)
    return F.normalize(features, dim=-1), [i % len(CLASSES) for i in range(n)]


# 15 images in batches of 7: the last has one, so the second process has none of it.
RECIPE = {"epochs": 3, "batch_size": 7, "seed": 2, "schedule": "constant"}


def count_encoded(monkeypatch):
    """Write down how many images are encoded at a time."""
    encode, sizes = compat.image_features, []

    def image_features(model, pixel_values):
        sizes.append(len(pixel_values))
        return encode(model, pixel_values)

    monkeypatch.setattr(compat, "image_features", image_features)
    return sizes
