"""The checkpoint of a training run: one safetensors file, with JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipnotes.files import write_atomically

KEY = "clipnotes.fit"
# Two runs are the same if their first logits are: rounding differs by machine, models by much more.
TOLERANCE = 0.05


class Checkpoint:
    """Where a run keeps its state, and how it knows that a file is its own."""

    def __init__(self, path: Any, identity: Mapping[str, Any], first_logits: Tensor) -> None:
        self.path = check_path(path)
        self.identity = json.loads(json.dumps(identity))  # as it will be read: lists, no tuples
        self.first_logits = first_logits.detach().float().cpu()

    def save(
        self,
        parameters: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        progress: Mapping[str, Any],
    ) -> None:
        """Write everything that the next epoch depends on, atomically."""
        tensors = {f"parameter.{name}": value.detach() for name, value in parameters.items()}
        tensors["first_logits"] = self.first_logits
        rest: dict[str, dict[str, Any]] = {}  # an optimizer's state that is no tensor
        for i, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{i}.{name}"] = value
                else:
                    rest.setdefault(str(i), {})[name] = value
        header = {"identity": self.identity, "progress": dict(progress), "optimizer": rest}
        # Each gets a memory of its own: safetensors refuses tensors that share it.
        tensors = {name: value.cpu().contiguous().clone() for name, value in tensors.items()}
        write_atomically(self.path, save(tensors, metadata={KEY: json.dumps(header)}))

    def load(
        self, parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> dict[str, Any] | None:
        """Put a run back to where its file left it; return the progress, or None without a file."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                header = json.loads((file.metadata() or {})[KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            identity, progress, rest = (
                header[key] for key in ("identity", "progress", "optimizer")
            )
            first_logits = tensors.pop("first_logits")
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(
                f"{self.path} is no checkpoint of fit, or is damaged ({error!r}); "
                "give another path, or delete the file"
            ) from error
        self._check_same(identity, first_logits)
        state: dict[int, dict[str, Any]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, i, key = name.split(".", 2)
                state.setdefault(int(i), {})[key] = value
        for i, values in rest.items():
            state.setdefault(int(i), {}).update(values)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"parameter.{name}"])
        return progress

    def _check_same(self, theirs: Mapping[str, Any], first_logits: Tensor) -> None:
        different = [
            f"{name} ({theirs.get(name)} there, {self.identity.get(name)} here)"
            for name in sorted({*theirs, *self.identity})
            if theirs.get(name) != self.identity.get(name)
        ]
        if not different:
            mine = self.first_logits
            if mine.shape != first_logits.shape or (mine - first_logits).abs().max() > TOLERANCE:
                different = ["the model or the prompts, which give other logits before training"]
        if different:
            raise ValueError(
                f"{self.path} belongs to another run. What differs: {'; '.join(different)}. "
                "Give what that run was given, or another path, or delete the file"
            )


def check_path(path: Any) -> Path:
    """Check that a checkpoint can be written to a path."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise ValueError(f"the checkpoint {path} is a folder; give a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"the folder {path.parent} of the checkpoint is not there; make it first")
    return path


def digest(*parts: Any) -> str:
    """A short fingerprint of tensors, bytes and anything with a faithful repr."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            total.update(f"{part.dtype} {tuple(part.shape)} ".encode())
            total.update(
                part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            )
        else:
            total.update(part if isinstance(part, bytes) else repr(part).encode())
        total.update(b"\0")
    return total.hexdigest()[:16]
