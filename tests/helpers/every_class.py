"""A small model of every class of transformers that holds one of CLIP's towers."""

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


def images(model):
    return pixels(getattr(model.config, "vision_config", model.config), 0, size=(8, 8))


def vision_models(seed=0, **sizes):
    clip = tiny_clip(seed, **sizes)
    config = clip.config.vision_config
    config.projection_dim = clip.config.projection_dim
    with_projection = randomise(CLIPVisionModelWithProjection(config), 1)
    return clip, randomise(CLIPVisionModel(config), 2), with_projection


def text_models(seed=0, **sizes):
    clip = tiny_clip(seed, **sizes)
    config = clip.config.text_config
    config.projection_dim = clip.config.projection_dim
    with_projection = randomise(CLIPTextModelWithProjection(config), 1)
    return clip, randomise(CLIPTextModel(config), 2), with_projection
