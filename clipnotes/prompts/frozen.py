"""A model whose parameters want no gradient, for as long as something runs in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def frozen(model: nn.Module, but: Tensor | None = None) -> Iterator[None]:
    """Run a model without a gradient for its parameters; afterwards each wants one as before.

    Args:
        model: Any module.
        but: A parameter that is left as it is, if it is one of the model's.

    Example:
        >>> import torch
        >>> linear = nn.Linear(2, 2)
        >>> with frozen(linear):
        ...     output = linear(torch.zeros(2))
        >>> output.requires_grad, linear.weight.requires_grad
        (False, True)
    """
    flags = [(weight, weight.requires_grad) for weight in model.parameters() if weight is not but]
    try:
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, flag in flags:
            weight.requires_grad_(flag)
