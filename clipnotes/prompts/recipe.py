"""The recipe of CoOp (Zhou et al. 2022, "Learning to Prompt for Vision-Language Models").

SGD with momentum 0.9 and weight decay 5e-4, a learning rate of 0.002 that falls along a cosine, one
epoch of warm-up at 1e-5, batches of 32, and the more epochs the more pictures a class has. The rate
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
    """CoOp's optimizer. Its learning rate is set before every epoch.

    Example:
        >>> sgd([torch.nn.Parameter(torch.zeros(2))]).defaults["weight_decay"]
        0.0005
    """
    return torch.optim.SGD(parameters, lr=0.002, momentum=0.9, weight_decay=5e-4)


def epochs_for(shots: int) -> int:
    """How long CoOp trains: the paper has 1, 2, 4, 8 and 16 shots; between them, as for fewer.

    Example:
        >>> [epochs_for(shots) for shots in (1, 2, 4, 8, 16)]
        [50, 100, 100, 200, 200]
    """
    if shots == 1:
        return 50
    return 100 if shots < 8 else 200


def learning_rates(schedule: Schedule, lr: float, epochs: int) -> list[float]:
    """The learning rate of every epoch.

    "cosine" is CoOp's: the first epoch at 1e-5, then from ``lr`` along a half cosine that would
    reach 0 one epoch after the last (the reference counts the cosine's epochs from the end of the
    warm-up, over the whole number of epochs). "constant" is ``lr`` throughout.

    Args:
        schedule: "cosine", "constant", or a function from the epoch's number, from 0, to a factor
            of ``lr``.
        lr: The highest rate.
        epochs: How many.

    Raises:
        TypeError: A schedule of another kind.
        ValueError: Another name, a rate that is not finite and above 0, less than one epoch, or a
            factor that is negative or not finite.

    Example:
        >>> [round(rate, 6) for rate in learning_rates("cosine", 0.002, 4)]
        [1e-05, 0.002, 0.001707, 0.001]
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs is {epochs!r}; give a whole number of at least 1")
    if not isinstance(lr, (int, float)) or not math.isfinite(lr) or lr <= 0:
        raise ValueError(f"lr is {lr!r}; give a number above 0, for instance 0.002")
    if schedule == "cosine":
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
    """Shuffle n rows into batches.

    The order depends on the seed and the epoch only, so a run that was stopped can go on. The last
    batch may be smaller than the others; the reference drops it unless it is the only one.

    Example:
        >>> batches(5, 2, seed=0, epoch=0)
        [[2, 0], [1, 3], [4]]
    """
    rows = list(range(n))
    random.Random(f"{seed} epoch {epoch}").shuffle(rows)
    return [rows[i : i + batch_size] for i in range(0, n, batch_size)]


def check_whole_numbers(batch_size: int, seed: int) -> None:
    """Check what decides about the order of pictures.

    Raises:
        TypeError: No whole number.
        ValueError: No picture in a batch.

    Example:
        >>> check_whole_numbers(32, 0)
    """
    for name, value in (("batch_size", batch_size), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}; give a whole number")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
