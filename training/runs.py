"""What all training runs here do alike: rates, checkpoints, and the sums of what ships."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def schedule(step: int, steps: int, warm_up: int) -> float:
    """Return the factor of the learning rates: up in `warm_up` steps, then half a cosine to 2 %."""
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


@torch.no_grad()
def follow(average: dict[str, Tensor], model: nn.Module, done: int, most: float) -> None:
    """Move a running average of the weights towards a model, after `done` steps before this one."""
    rate = min(most, (done + 1) / (done + 10))  # a short memory at first
    for name, value in model.state_dict().items():
        average[name].lerp_(value, 1 - rate)


def save_checkpoint(
    path: Path,
    done: int,
    model: nn.Module,
    average: dict[str, Tensor],
    optims: list[torch.optim.Optimizer],
) -> None:
    """Save everything as safetensors in one move: a kill leaves the old or the new file."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for i, optim in enumerate(optims):
        for p, state in optim.state_dict()["state"].items():
            tensors |= {f"optim.{i}.{p}.{k}": v for k, v in state.items()}
    part = path.with_suffix(".part")
    contiguous = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
    save_file(contiguous, part, metadata={"step": str(done)})
    os.replace(part, path)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optims: list[torch.optim.Optimizer],
    device: torch.device | str = "cpu",
) -> tuple[int, dict[str, Tensor]]:
    """Put a saved state into model and optimizers; return the steps done and the average."""
    with safe_open(path, framework="pt") as file:
        done = int(file.metadata()["step"])
        tensors = {k: file.get_tensor(k).to(device) for k in file.keys()}  # noqa: SIM118
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optim": {}}
    for key, tensor in tensors.items():
        part, name = key.split(".", 1)
        parts[part][name] = tensor
    model.load_state_dict(parts["model"])
    for i, optim in enumerate(optims):
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in parts["optim"].items():
            which, p, name = key.split(".")
            if int(which) == i:
                state.setdefault(int(p), {})[name] = tensor
        optim.load_state_dict({**optim.state_dict(), "state": state})
    return done, parts["average"]


def averaged(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read the running average of a checkpoint, and the step that it is of."""
    with safe_open(path, framework="pt") as file:
        names = [k for k in file.keys() if k.startswith("average.")]  # noqa: SIM118
        average = {k.removeprefix("average."): file.get_tensor(k) for k in names}
        return file.metadata()["step"], average


def write_sums(out: Path) -> None:
    """Write SHA256SUMS of what a model directory ships, and let everybody read the weights."""
    (out / "model.safetensors").chmod(0o644)
    files = sorted(f for f in out.iterdir() if f.suffix in (".json", ".txt", ".safetensors"))
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files]
    (out / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
