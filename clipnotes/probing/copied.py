"""A copy of a model to be measured: the same weights, and nothing that could reach the original."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from clipnotes.compat.compiled import refuse_compiled

OTHER = ("get_image_features", "get_video_features", "get_audio_features")


def check(model: Any) -> str:
    """Raise unless a model has two towers; return how it encodes what is not text."""
    other = [name for name in OTHER if callable(getattr(model, name, None))]
    has_text = callable(getattr(model, "get_text_features", None))
    if not isinstance(model, nn.Module) or not has_text or not other:
        lacks = "a text tower" if other else "an image tower" if has_text else "two towers"
        inside = getattr(model, "model", None)
        hint = " Give its `.model`." if hasattr(inside, "get_text_features") else ""
        raise TypeError(
            f"a {type(model).__name__} is no model with {lacks}: it needs get_text_features and "
            f"one of {', '.join(OTHER)}, as CLIPModel, SiglipModel or BlipModel of transformers "
            f"have them.{hint}"
        )
    if any(weight.is_meta for weight in model.parameters()):
        raise ValueError(
            "the weights are on the meta device and hold no numbers; load the model, or build it "
            "on a real device"
        )
    refuse_compiled(model, list(model.modules()), "what measures it")
    return other[0]


def to_measure(model: Any) -> Any:
    """Copy a model, in eval mode and float32, its weights shared with the original where possible.

    A weight whose numbers are all the same is where training starts, not what it found: a norm at
    one and a bias at zero hide whether they are used. Such weights are random in the copy.
    """
    shared: dict[int, Any] = {}
    for seed, weight in enumerate(model.parameters()):
        if type(weight) is nn.Parameter:  # a quantised one copies itself
            shared[id(weight)] = nn.Parameter(_varied(weight.detach(), seed), requires_grad=False)
    copied = copy.deepcopy(model, shared).eval()
    for weight in copied.parameters():
        weight.requires_grad_(False)
    halves = (torch.float16, torch.bfloat16)
    return copied.float() if any(w.dtype in halves for w in copied.parameters()) else copied


def _varied(weight: torch.Tensor, seed: int) -> torch.Tensor:
    if weight.numel() < 2 or not weight.is_floating_point() or bool((weight != weight.max()).any()):
        return weight
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(weight.shape, generator=generator)
    return weight + 0.2 * noise.to(weight.device, weight.dtype)
