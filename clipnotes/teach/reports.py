"""The numbers of ``learn`` and of ``compare``, and how they are written in lines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clipnotes.pictures.reading import Skipped


@dataclass
class Report:
    """What ``learn`` did, in numbers."""

    accuracies: dict[str, list[float]] = field(default_factory=dict)  # a number for each seed
    n_train: int = 0  # of the first seed
    n_test: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)  # of the first seed

    def lines(self) -> list[str]:
        """A line for each method: its name, mean accuracy and the deviation of several seeds."""
        width = max(map(len, self.accuracies))
        return [f"{name:{width}}  {percent(values)}" for name, values in self.accuracies.items()]


@dataclass
class Row:
    """How a method did."""

    accuracies: list[float] = field(default_factory=list)  # a number for each seed
    seconds: list[float] = field(default_factory=list)  # of training alone, for each seed
    n_parameters: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)  # empty if it is not trained


@dataclass
class Comparison:
    """What ``compare`` did, in numbers."""

    rows: dict[str, Row]  # first the methods that need no training
    names: list[str]
    seeds: list[int]
    n_train: int
    n_test: int
    skipped: list[Skipped]
    notes: list[str]
    about: dict[str, Any] = field(default_factory=dict)  # model, template and shots

    def lines(self) -> list[str]:
        """A table: accuracy, what is learned, and mean seconds of training."""
        table = [("", "accuracy", "parameters", "seconds")]
        for name, row in self.rows.items():
            seconds = f"{statistics.mean(row.seconds):.1f}"
            accuracy = percent(row.accuracies).strip()
            table.append((name, accuracy, f"{row.n_parameters:,}", seconds))
        a, b, c, d = (max(map(len, column)) for column in zip(*table, strict=True))
        return [f"{w:{a}}  {x:>{b}}  {y:>{c}}  {z:>{d}}" for w, x, y, z in table]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        methods = [
            {
                "method": name,
                "mean": statistics.mean(row.accuracies),
                "deviation": statistics.stdev(row.accuracies) if len(self.seeds) > 1 else None,
                **asdict(row),
            }
            for name, row in self.rows.items()
        ]
        return {
            **self.about,
            "classes": self.names,
            "seeds": self.seeds,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "methods": methods,
            "notes": self.notes,
            "skipped": [asdict(one) for one in self.skipped],
        }


def percent(values: Sequence[float]) -> str:
    """Write accuracies as their mean and, of several, the standard deviation."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):5.1f}{spread} %"
