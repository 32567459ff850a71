"""How many images go through a vision tower at once: their bytes decide, not their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from clipnotes import compat
from clipnotes.compat.carried import check_here

BATCH = 256  # images or texts that go through a tower at once, at most
ACTIVATIONS = 256 * 2**20  # bytes of what a tower holds meanwhile


def at_once(model: Any, size: int | None = None) -> int:
    """Say how many images of some pixels the vision tower takes at once, without a gradient.

    Without ``size``, images have the size that the model was made for.

    >>> import clipnotes
    >>> at_once(clipnotes.load().model)
    256
    """
    config = model.config.vision_config
    patches = ((size or config.image_size) // config.patch_size) ** 2
    tokens = patches + compat.family_of(model).class_tokens(model)
    # The widest moments of a layer: its MLP, and beside it residual, queries, keys and values; and
    # the shares of attention, which are there where it is computed without a kernel of its own.
    wide = config.intermediate_size + 6 * config.hidden_size
    shares = 2 * config.num_attention_heads * tokens
    return max(1, min(BATCH, ACTIVATIONS // (4 * tokens * (wide + shares))))


@torch.no_grad()
def in_batches(
    model: Any, pixels: Iterable[Tensor], encode: Callable[[Any, Tensor], Tensor]
) -> Tensor:
    """Run ``encode(model, pixels)`` over pixels, (1, 3, S, S) per image, as they come."""
    check_here(model)
    coming, parts = iter(pixels), []
    first = list(islice(coming, 1))  # says how large they are
    n = at_once(model, first[0].shape[-1]) if first else 1
    coming = chain(first, coming)
    while batch := list(islice(coming, n)):
        parts.append(encode(model, torch.cat(batch).to(model.device, model.dtype)))
    return torch.cat(parts)


def encode_pixels(model: Any, pixels: Iterable[Tensor]) -> Tensor:
    """Encode pixels, (1, 3, S, S) per image, as they come: (n, P), unit length, no gradient."""
    return torch.nn.functional.normalize(in_batches(model, pixels, compat.image_features), dim=-1)
