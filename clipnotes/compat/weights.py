"""Read the weights of a model, also where another library stores them in its own way."""

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat.carried import class_of, elsewhere
from clipnotes.compat.compiled import original
from clipnotes.compat.families import family_of


def token_table(model: nn.Module) -> nn.Embedding:
    """Find the token table of a model or its text tower, below whatever PEFT wraps around it."""
    table: Any = original(family_of(model).token_table(model))
    return getattr(table, "base_layer", table)


def is_plain(weight: Tensor) -> bool:
    """Tell whether a weight is an ordinary tensor; a quantised one is of a subclass."""
    return type(weight.detach()) is Tensor


def plain(weight: Tensor) -> Tensor:
    """Read a weight as float32 on the CPU, also if it is quantised or spread over devices."""
    values = weight.detach()
    # A DTensor has the first of these methods, a weight that torchao quantised the second.
    for read in ("full_tensor", "dequantize"):
        if not is_plain(values) and hasattr(values, read):
            try:
                values = getattr(values, read)()
            except (NotImplementedError, RuntimeError, TypeError):
                continue
    if not is_plain(values):
        raise ValueError(
            f"the numbers of a weight of type {class_of(values)} cannot be read: give the model "
            "without it, for instance before it was quantised"
        )
    if values.is_meta:
        raise elsewhere("weights of this model")
    return values.to("cpu", torch.float32).contiguous()
