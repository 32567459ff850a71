"""Build one of our towers from one of transformers': the same numbers, no shared memory."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from clipnotes.compat.attention import refuse_foreign_attention

Tower = TypeVar("Tower", bound=nn.Module)


def copy_tower(
    build: Callable[..., Tower], theirs: Any, config_names: tuple[str, ...], **others: Any
) -> Tower:
    """Build a tower with a copy of the weights of ``theirs``, a tower of transformers.

    ``config_names`` are the entries of its config that ``build`` takes, besides ``others``.
    """
    refuse_foreign_attention(theirs, "a copy of it")
    with torch.device("meta"):  # shapes only: no memory, and no random numbers are drawn
        sizes = {name: getattr(theirs.config, name) for name in config_names}
        ours: Any = build(**sizes, **others)
    weights = {name: weight.clone() for name, weight in theirs.state_dict().items()}
    ours.load_state_dict(weights, strict=True, assign=True)
    ours.embeddings.position_ids = theirs.embeddings.position_ids.clone()  # not in the weights
    return ours.train(theirs.training)
