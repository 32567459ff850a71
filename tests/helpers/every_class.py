"""A small model of every class of transformers that holds one of CLIP's towers."""

from functools import partial

import torch
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)

from reference import pixels, randomise, tiny_clip

IDS = torch.tensor([[2, 7, 9, 3, 0], [2, 5, 3, 0, 0]])  # BOS, words, EOS, padding
MASK = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
CLASSES = {
    "vision": (CLIPVisionModel, CLIPVisionModelWithProjection),
    "text": (CLIPTextModel, CLIPTextModelWithProjection),
}


def images(model):
    return pixels(getattr(model.config, "vision_config", model.config), 0, size=(8, 8))


def models(kind, seed=0, **sizes):
    """A whole CLIP, a tower alone, and a tower with its projection."""
    clip = tiny_clip(seed, **sizes)
    config = getattr(clip.config, f"{kind}_config")
    config.projection_dim = clip.config.projection_dim
    alone, with_projection = CLASSES[kind]
    return clip, randomise(alone(config), 2), randomise(with_projection(config), 1)


vision_models, text_models = partial(models, "vision"), partial(models, "text")
