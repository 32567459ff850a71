"""Chance within a step of training: each row has its own, whoever computes it and in which batch.

Torch's own random state is neither used nor changed. What a step draws depends on the seed, on the
step and on the row, so a training that was stopped goes on as if it had not been, and several
processes that share a batch draw what one would.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chance:
    """Where what is random in a step comes from: a text for the step, and the numbers of rows."""

    step: str
    rows: Sequence[int]


class Dropout:
    """Set some numbers of each row to zero, and make the others larger, so that the mean stays."""

    def __init__(self, rate: float, names: Sequence[str]) -> None:
        self.rate = rate
        self.names = names  # a text for each row
        self._draws: list[torch.Generator] = []

    def __call__(self, values: Tensor) -> Tensor:
        """(n, ...) -> the same shape; called again, it drops others."""
        if not self._draws:
            for name in self.names:
                self._draws.append(torch.Generator(device=values.device))
                self._draws[-1].manual_seed(random.Random(name).getrandbits(63))
        shape = values.shape[1:]
        kept = torch.stack(
            [torch.rand(shape, generator=g, device=values.device) >= self.rate for g in self._draws]
        )
        return values * kept / (1 - self.rate)
