"""The numbers of ``learn`` and of ``compare``, and how they are written in lines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from clipnotes.pictures.reading import Skipped


@dataclass
class Report:
    """What ``learn`` did, in numbers.

    Attributes:
        accuracies: Method -> a number for each seed.
        n_train, n_test: Pictures of the first seed.
        skipped: Files that could not be read.
        notes: What was done otherwise than asked, and what to doubt.
        recipe: What the first seed's prompt was learned with.
    """

    accuracies: dict[str, list[float]] = field(default_factory=dict)
    n_train: int = 0
    n_test: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A line a method: its name, the mean accuracy and, of several seeds, the deviation.

        Example:
            >>> Report({"zero-shot": [0.5], "learned": [0.75]}).lines()
            ['zero-shot   50.0 %', 'learned     75.0 %']
        """
        width = max(map(len, self.accuracies))
        return [f"{name:{width}}  {percent(values)}" for name, values in self.accuracies.items()]


@dataclass
class Row:
    """How a method did.

    Attributes:
        accuracies, seconds: A number for each seed; the seconds are those of training alone.
        n_parameters: Numbers that it takes from the pictures.
        recipe: What it was trained with, of the first seed; empty if it is not trained.
    """

    accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_parameters: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)

    def add(self, accuracy: float, seconds: float, n_parameters: int) -> None:
        """Add what one seed gave."""
        self.accuracies.append(accuracy)
        self.seconds.append(seconds)
        self.n_parameters = n_parameters


@dataclass
class Comparison:
    """What ``compare`` did, in numbers.

    Attributes:
        rows: Method -> how it did; first those that need no training.
        names: The classes.
        seeds: As given.
        n_train, n_test: Pictures of each seed.
        skipped: Files that could not be read.
        notes: What was done otherwise than asked, and what to doubt.
        about: Model, template and shots.
    """

    rows: dict[str, Row]
    names: list[str]
    seeds: list[int]
    n_train: int
    n_test: int
    skipped: list[Skipped]
    notes: list[str]
    about: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A table: accuracy, what is learned, and mean seconds of training.

        Example:
            >>> rows = {"zero-shot": Row([0.5], [0.0]), "coop": Row([0.75], [21.5], 2048)}
            >>> for line in Comparison(rows, ["rose", "tulip"], [0], 2, 4, [], []).lines():
            ...     print(line)
                       accuracy  parameters  seconds
            zero-shot    50.0 %           0      0.0
            coop         75.0 %       2,048     21.5
        """
        table = [("", "accuracy", "parameters", "seconds")]
        for name, row in self.rows.items():
            seconds = f"{statistics.mean(row.seconds):.1f}"
            accuracy = percent(row.accuracies).strip()
            table.append((name, accuracy, f"{row.n_parameters:,}", seconds))
        a, b, c, d = (max(map(len, column)) for column in zip(*table, strict=True))
        return [f"{w:{a}}  {x:>{b}}  {y:>{c}}  {z:>{d}}" for w, x, y, z in table]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it.

        Example:
            >>> rows = {"zero-shot": Row([0.5, 1.0], [0.0, 0.0])}
            >>> numbers = Comparison(rows, ["rose", "tulip"], [0, 1], 2, 4, [], []).to_dict()
            >>> numbers["methods"][0]["mean"]
            0.75
        """
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
    """Write accuracies as their mean and, of several, the standard deviation.

    Example:
        >>> percent([0.5]), percent([0.5, 0.75])
        (' 50.0 %', ' 62.5 ± 17.7 %')
    """
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):5.1f}{spread} %"
