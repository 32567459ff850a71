"""How a vision tower pools, by the gradient of the features with respect to its last states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.probing.images import Images, count
from clipnotes.probing.pooling import Found
from clipnotes.probing.watch import head, hooked, how_read, noise, projection

NAMES = ("class_token", "image_pooling", "image_width", "image_projection")


class Run:
    """The one run of the vision tower, which is most of the work that a probe makes.

    Attributes:
        patches: How many vectors the first layer made of an image.
        tower: The outermost module that holds this layer and gives an object with its last states
            and a pooled vector; ``None`` if there is no such module.
        output: What it gave, as a dictionary.
        states: The last states that the features are made of, (B, N, D) or (B, D, height, width).
        moves: How the features would move with them, of the same shape.
    """

    def __init__(self, images: Images) -> None:
        self.patches = 0
        self.tower: Any = None
        self.kind: Any = dict
        self.output: dict[str, Any] = {}
        first: nn.Module | None = None
        leaves: list[Tensor] = []
        places: list[int] = []  # where in memory a module's tensor lies, which says whose it is

        def note(module: nn.Module, inputs: Any, output: Any) -> Any:
            nonlocal first
            tensor = head(output)
            if tensor is None:
                self._note_tower(module, first, output)
                return None
            if first is None and tensor.dim() in (3, 4) and hasattr(module, "weight"):
                first, self.patches = module, count(tensor)
            if tensor.dim() not in (3, 4) or count(tensor) < 2:
                return None
            # What follows depends on this tensor and on nothing before it, so the graph of the
            # layers behind us is let go, and one run asks about every tensor that may be the last.
            leaves.append(tensor.detach().clone().requires_grad_())
            given = leaves[-1].clone()  # some models write into it
            places.append(given.data_ptr())
            return (given, *output[1:]) if type(output) is tuple else given

        with torch.enable_grad(), hooked(images.model, note):
            features = images.features()
            total = (features * noise(features.shape, features, 3)).sum()
        found = torch.autograd.grad(total, leaves, allow_unused=True)
        last = self.output.get("last_hidden_state")
        wanted = last.data_ptr() if isinstance(last, Tensor) else None
        used = [
            (at == wanted, leaf, g)
            for at, leaf, g in zip(places, leaves, found, strict=True)
            if g is not None
        ]
        if not used:
            raise ValueError("no module gave the states that the features are made of")
        _, self.states, self.moves = max(enumerate(used), key=lambda one: (one[1][0], one[0]))[1]
        self.output = {key: _without_graph(value) for key, value in self.output.items()}

    def _note_tower(self, module: nn.Module, first: nn.Module | None, output: Any) -> None:
        states = getattr(output, "last_hidden_state", None)
        if isinstance(states, Tensor) and any(m is first for m in module.modules()):
            self.tower, self.output, self.kind = module, dict(output), type(output)

    def repeat(self, **changed: Tensor) -> None:
        """Let the tower give again what it gave, but for what is ``changed``, and compute nothing.

        It is the tower of a copy, which nobody else runs.
        """
        kind, given = self.kind, self.output | changed
        self.tower.forward = lambda *args, **kwargs: kind(**given)


def look(images: Images) -> Found:
    """Find out which rows of the last states an image's features are made of."""
    run = Run(images)
    found = _found(run)
    if run.tower is not None:
        run.repeat()
        pooled = run.output.get("pooler_output")
        if isinstance(pooled, Tensor):
            found["image_projection"] = _after(images, run, pooled)
    if images.kind == "audio":
        return dict.fromkeys(NAMES, (None, "the other tower hears sound and sees no image"))
    return found


def _found(run: Run) -> Found:
    moves = run.moves
    rows = moves.flatten(2).transpose(1, 2) if moves.dim() == 4 else moves  # (B, N, D)
    kind, at = how_read(rows.norm(dim=-1)[0])
    n = rows.shape[1]
    class_token = n == run.patches + 1
    if kind == "one":
        pooling = "class token" if class_token and at == 0 else f"position {at}"
        how = f"only the state at {at} moves the features"
    else:
        pooling = "mean" if kind == "all" else "attention head"
        how = f"all {n} states move the features, {'equally' if kind == 'all' else 'unequally'}"
    return {
        "class_token": (class_token, f"{n} states of {run.patches} patches"),
        "image_pooling": (pooling, how),
        "image_width": (rows.shape[-1], "of the last states"),
        "image_projection": (None, "the tower gives no pooled vector by itself"),
    }


def _after(images: Images, run: Run, pooled: Tensor) -> tuple[Any, str]:
    """Give other pooled vectors, and look at the features that are made of them."""

    def of(new: Tensor) -> Tensor:
        run.repeat(pooler_output=new)
        return images.features().flatten(1)

    found = projection(of, pooled.flatten(1) if pooled.dim() == 4 else pooled)
    run.repeat()
    return found


def _without_graph(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
