"""Compare two ways to compute the same features: are they equal, and what does each of them cost?

A *way* is a function of the context, (n_ctx, D), that returns features, (n_classes, P). A step
calls it and sends a gradient back to the context.
"""

import math
import weakref
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Way = Callable[[Tensor], Tensor]
EQUAL = 1e-5  # of the largest number


class Compared(NamedTuple):
    """How the second of two ways differs from the first.

    Attributes:
        features: Largest difference of the features, where the largest of them counts as 1.
        gradient: Likewise, of the gradient of the context.
        less: How many times less arithmetic it does in the products with weights.
        faster: How many times as fast it was. This is a measurement, and no two are the same.
    """

    features: float
    gradient: float
    less: float
    faster: float

    def __repr__(self) -> str:
        return (
            f"off by {self.features:.0e} (features) and {self.gradient:.0e} (gradient)\n"
            f"{self.less:.2f} times less arithmetic, {self.faster:.2f} times as fast"
        )


def step(way: Way, ctx: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the features, and the gradient that they send back to the context.

    What goes back is the same for all ways: the gradient of the features' sum, each of them times a
    fixed random number, so that a fault in any feature shows in it.
    """
    features = way(ctx)  # (n_classes, P)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(features.shape, generator=generator).to(features)
    (gradient,) = torch.autograd.grad((features * direction).sum(), ctx)
    return features.detach(), gradient


def apart(way: Way, other: Way, ctx: Tensor) -> tuple[float, float]:
    """Return the largest differences of features and gradient, for a largest number of 1."""
    pairs = zip(step(way, ctx), step(other, ctx), strict=True)
    one, two = (((a - b).abs().max() / b.abs().max()).item() for a, b in pairs)
    return one, two


def count(way: Way, ctx: Tensor) -> int:
    """Count additions and multiplications in the matrix products of a step, both directions."""
    with FlopCounterMode(display=False) as counter:
        step(way, ctx)
    return counter.get_total_flops()


def seconds(*ways: Way, ctx: Tensor, times: int = 3) -> list[float]:
    """Time a step of each way, in turns, and keep the fastest of each: the least disturbed."""
    best = [math.inf] * len(ways)
    for _ in range(times):
        for i, way in enumerate(ways):
            begin = perf_counter()
            step(way, ctx)
            best[i] = min(best[i], perf_counter() - begin)
    return best


def compare(before: Way, after: Way, ctx: Tensor) -> Compared:
    """Check that two ways are equal, count the arithmetic of both, and time them.

    Args:
        before: A way whose features are right.
        after: A way that is to do the same with less.
        ctx: (n_ctx, D), a leaf that wants a gradient.

    Raises:
        AssertionError: Features or gradients differ by more than 1e-5 of the largest number.

    Example:
        >>> ctx = torch.ones(2, 3, requires_grad=True)
        >>> one, two = torch.randn(4, 50), torch.randn(50, 2)
        >>> compare(lambda c: one @ two @ c, lambda c: one @ (two @ c), ctx).less < 1
        True
    """
    features, gradient = apart(after, before, ctx)
    assert_close(torch.tensor([features, gradient]), torch.zeros(2), atol=EQUAL, rtol=0)
    slow, quick = seconds(before, after, ctx=ctx)
    return Compared(features, gradient, count(before, ctx) / count(after, ctx), slow / quick)


class _Alive(TorchDispatchMode):
    """PyTorch calls this for each operation, also on the way back; it watches what is alive."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self.alive = {x.untyped_storage().data_ptr(): 0 for x in ignored}
        self.most = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        for x in filter(torch.is_tensor, tree_leaves(out)):
            storage = x.untyped_storage()
            key = storage.data_ptr()
            if key not in self.alive:  # a view has the storage of another tensor
                self.alive[key] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, key, None)
        self.most = max(self.most, sum(self.alive.values()))
        return out


def peak_bytes(way: Way, ctx: Tensor, ignored: Iterable[Tensor] = ()) -> int:
    """Return the most bytes of tensors that were alive at once in a step.

    What a kernel needs for itself and gives back before it returns is not seen.

    Args:
        way: The way.
        ctx: (n_ctx, D).
        ignored: Tensors that are there anyway, the model's weights for instance.

    Example:
        >>> ctx = torch.ones(2, 3, requires_grad=True)
        >>> wide = peak_bytes(lambda c: (c @ torch.ones(3, 1000)).sum(1, keepdim=True), ctx)
        >>> wide > peak_bytes(lambda c: c.sum(1, keepdim=True), ctx)
        True
    """
    with _Alive(ignored) as watch:
        step(way, ctx)
    return watch.most
