"""The numbers of ``learn`` and of ``compare``, and how they are written in lines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clipnotes.pictures.reading import Skipped
from clipnotes.prompts import Scores


@dataclass
class Report:
    """What ``learn`` did, in numbers."""

    accuracies: dict[str, list[float]] = field(default_factory=dict)  # a number for each seed
    n_train: int = 0  # of the first seed
    n_test: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)  # of the first seed
    ece: dict[str, list[float]] = field(default_factory=dict)  # as accuracies

    def add(self, name: str, scores: Scores) -> None:
        """Add what a method reached with one more seed."""
        self.accuracies.setdefault(name, []).append(scores.accuracy)
        self.ece.setdefault(name, []).append(scores.ece)

    def lines(self) -> list[str]:
        """A table: accuracy and calibration error, with the deviation of several seeds."""
        rows = [
            (name, percent(values).strip(), percent(self.ece[name]).strip())
            for name, values in self.accuracies.items()
        ]
        return _in_columns([("", "accuracy", "ECE"), *rows])


@dataclass
class Row:
    """How a method did."""

    accuracies: list[float] = field(default_factory=list)  # a number for each seed
    seconds: list[float] = field(default_factory=list)  # of training alone, for each seed
    n_parameters: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)  # empty if it is not trained
    ece: list[float] = field(default_factory=list)  # the calibration error, for each seed


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
        """A table: accuracy, calibration error, what is learned, and mean seconds of training."""
        table: list[tuple[str, ...]] = [("", "accuracy", "ECE", "parameters", "seconds")]
        for name, row in self.rows.items():
            seconds = f"{statistics.mean(row.seconds):.1f}"
            accuracy, ece = percent(row.accuracies).strip(), percent(row.ece).strip()
            table.append((name, accuracy, ece, f"{row.n_parameters:,}", seconds))
        return _in_columns(table)

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


def _in_columns(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Write a table with its first column on the left and all others on the right."""
    wide, *others = (max(map(len, column)) for column in zip(*table, strict=True))
    return [
        "  ".join([f"{name:{wide}}", *(f"{x:>{n}}" for x, n in zip(rest, others, strict=True))])
        for name, *rest in table
    ]


def percent(values: Sequence[float]) -> str:
    """Write numbers from 0 to 1 as their mean and, of several, the standard deviation."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):5.1f}{spread} %"
