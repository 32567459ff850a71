"""A model whose parameters want no gradient, for as long as something runs in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def frozen(model: nn.Module, but: Tensor | None = None) -> Iterator[None]:
    """Run a model without gradients for its parameters, but for one; then all are as before."""
    flags = [(weight, weight.requires_grad) for weight in model.parameters() if weight is not but]
    try:
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, flag in flags:
            weight.requires_grad_(flag)
