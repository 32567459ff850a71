"""Run a model and look at, or replace, the tensors inside it. Nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Run = Callable[[], Tensor]
ROUNDING = 3e-5  # of the largest number: what is smaller is rounding


class Place(NamedTuple):
    """One call of a module in a run, and what kind of tensor it gave."""

    module: nn.Module
    call: int  # which of the module's calls, counting only those with such a tensor
    tensor: Tensor


def feature(output: Any) -> Tensor:
    """Return the feature in what ``get_*_features`` gave: a tensor, or since 5.x an object."""
    found = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if not isinstance(found, Tensor):
        raise ValueError(f"the features are a {type(found).__name__}, not a tensor")
    return found


def head(output: Any) -> Tensor | None:
    """Return the tensor that a module gave, or the first of several; ``None`` for an object."""
    first = output[0] if type(output) is tuple and output else output
    return first if isinstance(first, Tensor) and first.is_floating_point() else None


@contextmanager
def hooked(model: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """Call ``hook(module, inputs, output)`` behind every module of a model."""
    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def places(model: nn.Module, run: Callable[[], Any], wanted: Callable[[Tensor], bool]) -> list[Any]:
    """List the calls of a run that gave a tensor as ``wanted``, in the order in which they end."""
    found: list[Place] = []
    counts: dict[int, int] = {}

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        tensor = head(output)
        if tensor is not None and wanted(tensor):
            counts[id(module)] = counts.get(id(module), -1) + 1
            found.append(Place(module, counts[id(module)], tensor))

    with torch.no_grad(), hooked(model, note):
        run()
    return found


@contextmanager
def replaced(place: Place, wanted: Callable[[Tensor], bool], new: Any) -> Iterator[None]:
    """Put ``new(tensor)`` in the place of what a call gives."""
    seen = -1

    def put(module: nn.Module, inputs: Any, output: Any) -> Any:
        nonlocal seen
        tensor = head(output)
        if tensor is None or not wanted(tensor):
            return None
        seen += 1
        if seen != place.call:
            return None
        return (new(tensor), *output[1:]) if type(output) is tuple else new(tensor)

    handle = place.module.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def gradient(place: Place, wanted: Callable[[Tensor], bool], run: Run) -> Tensor | None:
    """Say how the features would move with a place's tensor; ``None`` if not at all."""
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        leaves.append(tensor.detach().clone().requires_grad_())
        return leaves[-1].clone()  # some models write into what they are given

    with torch.enable_grad(), replaced(place, wanted, leaf):
        features = run()
        if not leaves or not features.requires_grad:
            return None
        direction = noise(features.shape, features, 3)
        (found,) = torch.autograd.grad((features * direction).sum(), leaves[0], allow_unused=True)
    return found if found is not None and bool(found.any()) else None


def states_place(model: nn.Module, run: Run, wanted: Callable[[Tensor], bool]) -> Place:
    """Find the last call whose tensor the features are made of."""
    for place in places(model, run, wanted)[:-12:-1]:
        if gradient(place, wanted, run) is not None:
            return place
    raise ValueError("no module gave the states that the features are made of")


def how_read(weights: Tensor) -> tuple[str, int]:
    """Say which of the rows are read: ``one`` and its number, ``all`` equally, or ``mixed``.

    Args:
        weights: (L,), how much each row counts.
    """
    share = weights / weights.max()
    used = (share > ROUNDING).nonzero().flatten().tolist()
    if len(used) == 1:
        return "one", used[0]
    return ("all" if bool((share > 1 - 1e-3).all()) else "mixed"), -1


def projection(of: Callable[[Tensor], Tensor], pooled: Tensor) -> tuple[str, str]:
    """Say what a map from pooled vectors to features is made of, and how that was seen.

    Args:
        of: (B, D) -> (B, P).
        pooled: (B, D).
    """
    with torch.no_grad():
        other = -1.5 * pooled.flip(-1)
        zero, one, two, both = map(of, (0 * pooled, pooled, other, pooled + other))  # each (B, P)
    if one.shape == pooled.shape and difference(one, pooled) < ROUNDING:
        return "none", "the features are the pooled vector"
    bent = difference(both - one, two - zero)
    how = f"f(x + y) - f(x) is {bent:.1g} from f(y) - f(0)"
    if bent > 1e-3:
        return "more than a matrix", how
    offset = float(zero.norm() / one.norm())
    return ("matrix and bias" if offset > ROUNDING else "matrix"), f"{how}; f(0) is {offset:.1g}"


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors, where their own size counts as one."""
    size = max(float(one.abs().max()), float(other.abs().max()), 1e-30)
    return float((one - other).abs().max()) / size


def noise(shape: Any, like: Tensor, seed: int) -> Tensor:
    """Draw random numbers that are the same on every device, and leave the global seed alone."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tuple(shape), generator=generator).to(like.device)
