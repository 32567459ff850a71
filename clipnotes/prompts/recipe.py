"""The recipe of CoOp (Zhou et al. 2022, "Learning to Prompt for Vision-Language Models").

SGD with momentum 0.9 and weight decay 5e-4, a learning rate of 0.002 that falls along a cosine, one
epoch of warm-up at 1e-5, batches of 32, and the more epochs the more images a class has. The rate
changes between epochs, not between steps.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import torch

WARMUP_LR = 1e-5
SCHEDULES = ("cosine", "constant")
Schedule = str | Callable[[int], float]


def sgd(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """CoOp's optimizer. Its learning rate is set before every epoch."""
    return torch.optim.SGD(parameters, lr=0.002, momentum=0.9, weight_decay=5e-4)


def epochs_for(shots: int) -> int:
    """How long CoOp trains."""
    # The paper has 1, 2, 4, 8 and 16 shots; a number between them trains as the one below it.
    if shots == 1:
        return 50
    return 100 if shots < 8 else 200


def learning_rates(schedule: Schedule, lr: float, epochs: int) -> list[float]:
    """The learning rate of every epoch."""
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs is {epochs!r}; give a whole number of at least 1")
    if not isinstance(lr, (int, float)) or not math.isfinite(lr) or lr <= 0:
        raise ValueError(f"lr is {lr!r}; give a number above 0, for instance 0.002")
    if schedule == "cosine":
        # The reference counts the cosine's epochs from the end of the warm-up, but divides by all
        # epochs, so the rate would reach 0 one epoch after the last.
        cosine = [lr * (1 + math.cos(math.pi * e / epochs)) / 2 for e in range(epochs - 1)]
        return [WARMUP_LR, *cosine]
    if schedule == "constant":
        return [lr] * epochs
    allowed = f"{' or '.join(map(repr, SCHEDULES))}, or a function from epoch to factor"
    if isinstance(schedule, str):
        raise ValueError(f"no schedule {schedule!r}; choose {allowed}")
    if not callable(schedule):
        raise TypeError(f"schedule is a {type(schedule).__name__}; choose {allowed}")
    rates = [lr * float(schedule(epoch)) for epoch in range(epochs)]
    for epoch, rate in enumerate(rates):
        if not math.isfinite(rate) or rate < 0:
            raise ValueError(
                f"the schedule's factor of epoch {epoch} is {rate / lr}; "
                "it must be finite and not negative"
            )
    return rates


def batches(n: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffle n rows into batches, in an order that depends on the seed and the epoch only.

    >>> batches(5, 2, seed=0, epoch=0)
    [[2, 0], [1, 3], [4]]
    """
    # The last batch may be smaller; the reference drops it unless it is the only one.
    rows = list(range(n))
    random.Random(f"{seed} epoch {epoch}").shuffle(rows)
    return [rows[i : i + batch_size] for i in range(0, n, batch_size)]


def check_weight(name: str, value: float, above: bool = False) -> None:
    """Check a number that says how much something counts: at least 0, or above it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} is {value!r}; give a number")
    if not math.isfinite(value) or value < 0 or (above and value == 0):
        allowed = "above 0" if above else "at least 0"
        raise ValueError(f"{name} is {value!r}; give a finite number, {allowed}")


def check_whole_numbers(batch_size: int, seed: int) -> None:
    """Check what decides about the order of images."""
    for name, value in (("batch_size", batch_size), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}; give a whole number")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
