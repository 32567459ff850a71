"""A few rows of a class, drawn by a seed: the shots of few-shot learning.

``clipnotes.data.few_shot`` and ``clipnotes learn`` draw here, so the same seed means the same for
both. What is drawn never changes: a training that was killed goes on with the images it had.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def draw(rows: Sequence[int], shots: int, seed: int, label: str | int) -> list[int]:
    """Draw ``shots`` rows of one class; seed, label and rows decide which, nothing else."""
    check_draw(shots, seed)
    return random.Random(f"{seed} {label}").sample(rows, shots)


def check_draw(shots: int, seed: int) -> None:
    """Check what decides how many rows are drawn, and which."""
    if not isinstance(shots, int) or not isinstance(seed, int):
        raise TypeError(f"shots is {shots!r} and seed is {seed!r}; both must be whole numbers")
    if shots < 1:
        raise ValueError(f"shots is {shots}; it must be at least 1")
