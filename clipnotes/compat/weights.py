"""The numbers in a model, also where another library holds them in its own way."""

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat.carried import class_of, elsewhere
from clipnotes.compat.compiled import original


def token_table(tower: Any) -> nn.Embedding:
    """Find the table of a text tower's tokens, below what PEFT wraps around it.

    Its width, its device and its place are those of what is around it; its rows need not be.

    Args:
        tower: A text tower, as ``compat.text_tower`` finds it.

    Example:
        >>> import clipnotes
        >>> token_table(clipnotes.load().model.text_model)
        Embedding(4000, 128)
    """
    table: Any = original(tower.embeddings.token_embedding)
    return getattr(table, "base_layer", table)


def is_plain(weight: Tensor) -> bool:
    """Tell whether a weight is a tensor and nothing else, as one in int8 by torchao is.

    Example:
        >>> is_plain(nn.Linear(2, 2).weight)
        True
    """
    return type(weight.detach()) is Tensor


def plain(weight: Tensor) -> Tensor:
    """Take the numbers out of a weight: float32, on the CPU.

    Args:
        weight: Of a module; also one that is quantised or spread over devices.

    Raises:
        ValueError: They are not there, because the model is offloaded, or cannot be read.

    Example:
        >>> plain(nn.Linear(3, 2).half().weight).dtype
        torch.float32
    """
    values = weight.detach()
    for read in ("full_tensor", "dequantize"):  # a DTensor, and what torchao quantised
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
