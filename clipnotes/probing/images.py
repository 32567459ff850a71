"""Random images, frames, patches or sound for a model's other tower."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipnotes.probing.watch import feature, noise

KINDS = {"get_video_features": "frames", "get_audio_features": "audio"}
B = 2


class Images(NamedTuple):
    """What the other tower is run on.

    Attributes:
        model: The model.
        method: Its method that encodes them.
        kind: ``pixels``, ``patches``, ``frames`` or ``audio``.
        inputs: What is given to it.
        how: How that was found.
    """

    model: Any
    method: str
    kind: str
    inputs: dict[str, Tensor]
    how: str

    def features(self) -> Tensor:
        """Encode them, -> (B, P)."""
        return feature(getattr(self.model, self.method)(**self.inputs))


def images_for(model: Any, method: str) -> Images:
    """Draw something random of the sizes that the configuration names."""
    device = next(model.parameters()).device
    parameters = inspect.signature(getattr(model, method)).parameters
    kind = KINDS.get(method) or ("patches" if "spatial_shapes" in parameters else "pixels")
    whole = getattr(model, "config", None)
    config: Any = getattr(whole, "audio_config" if kind == "audio" else "vision_config", whole)
    like = torch.empty(0, device=device)
    channels: int = getattr(config, "num_channels", 3)
    shape: tuple[int, ...]
    if kind == "audio":
        bins, size = config.num_mel_bins, config.spec_size
        shape = (B, 1, size * (size // bins), bins)
        inputs = {"input_features": noise(shape, like, 0)}
        return Images(model, method, kind, inputs, f"{method} takes input_features {shape}")
    if kind == "patches":
        shape = (B, 4, channels * config.patch_size**2)
        inputs = {
            "pixel_values": noise(shape, like, 0),
            "pixel_attention_mask": torch.ones(B, 4, dtype=torch.long, device=device),
            "spatial_shapes": torch.full((B, 2), 2, device=device),
        }
        how = f"{method} takes spatial_shapes: patches of any grid (NaFlex), here 2 by 2"
        return Images(model, method, kind, inputs, how)
    size = getattr(config, "image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    frames = (getattr(config, "num_frames", 8),) if kind == "frames" else ()
    shape = (B, *frames, channels, height, width)
    inputs = {"pixel_values": noise(shape, like, 0)}
    return Images(model, method, kind, inputs, f"{method} takes pixel_values {shape}")


def count(tensor: Tensor) -> int:
    """How many vectors of each image a tensor holds: (B, N, D) or (B, D, height, width)."""
    return math.prod(tensor.shape[2:]) if tensor.dim() == 4 else tensor.shape[1]
