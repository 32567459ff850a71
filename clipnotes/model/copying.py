"""Build one of our towers from one of transformers': the same numbers, no shared memory."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from clipnotes.compat.attention import refuse_foreign_attention

Module = TypeVar("Module", bound=nn.Module)


def copy_tower(
    build: Callable[..., Module], theirs: Any, config_names: tuple[str, ...], **others: Any
) -> Module:
    """Build a tower with a copy of the weights of ``theirs``, a tower of transformers.

    ``config_names`` are the entries of its config that ``build`` takes, besides ``others``.
    """
    refuse_foreign_attention(theirs, theirs.encoder.layers, "a copy of it")
    with torch.device("meta"):  # shapes only: no memory, and no random numbers are drawn
        sizes = {name: getattr(theirs.config, name) for name in config_names}
        ours: Any = build(**sizes, **others)
    ours.embeddings.position_ids = theirs.embeddings.position_ids.clone()  # not in the weights
    return copy_weights(ours, theirs)


def copy_weights(ours: Module, theirs: nn.Module) -> Module:
    """Give a module, built on the meta device, a copy of the weights of ``theirs``, and its mode.

    Both have the same names.
    """
    weights = {name: weight.clone() for name, weight in theirs.state_dict().items()}
    ours.load_state_dict(weights, strict=True, assign=True)
    return ours.train(theirs.training)
