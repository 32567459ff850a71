"""Write the results of the comparison of methods as three tables, without running a model."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from few_shot import BASE, LEARNED, NEW, UNKNOWN
from report import size

HARMONIC = "harmonic mean"  # of the base classes and the new ones
SHOTS = (1, 2, 4, 8)
Results = dict[str, Any]


def harmonic_mean(a: float, b: float) -> float:
    """Return 2 / (1/a + 1/b): near the smaller of the two, and 0 if one of them is."""
    return 2 * a * b / (a + b) if a + b else 0.0


def percent(values: Sequence[float]) -> str:
    """Write the mean and the spread in percent."""
    if not values:
        return "-"
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def tables(results: Results) -> str:
    """Return all three tables, each under its title."""
    titled = {
        "New things: accuracy by drawings per class": new_things(results),
        "Base to new: learned from one drawing of each base class": new_designer(results),
        "Cost, with four drawings per class of the new things": cost(results),
    }
    return "\n\n".join(f"{title}\n\n{table}" for title, table in titled.items())


def new_things(results: Results) -> str:
    """Make a table with a column per test designer and number of drawings."""
    columns = [(style, shots) for style in UNKNOWN for shots in SHOTS]
    lines = []
    for (method, recipe, lr), rows in _groups(results, "new things").items():
        cells = [
            percent([row["accuracy"][style] for row in rows if row["shots"] in (0, shots)])
            for style, shots in columns
        ]
        lines.append([method, recipe, lr, *cells])
    return _table(["method", "recipe", "lr", *(f"{s} {n}" for s, n in columns)], lines)


def new_designer(results: Results) -> str:
    """Make a table with the scores on learned images, base and new classes, and their mean."""
    tests = {"learned": LEARNED, "base": BASE, "new": NEW, "HM": HARMONIC}
    columns = [(designer, test) for designer in UNKNOWN for test in tests]
    lines = []
    for (method, recipe, lr), rows in _groups(results, "a new designer").items():
        cells = []
        for designer, test in columns:
            accuracies = [row["accuracy"] for row in rows if row["designer"] == designer]
            name = tests[test]
            cells.append(percent([scores[name] for scores in accuracies if name in scores]))
        lines.append([method, recipe, lr, *cells])
    return _table(["method", "recipe", "lr", *(f"{d} {t}" for d, t in columns)], lines)


def cost(results: Results) -> str:
    """Make a table of the numbers learned, milliseconds per step, and memory."""
    lines = []
    for method, row in results["about"]["cost"].items():
        step = row["seconds_per_step"]
        each = "-" if step is None else f"{1000 * step:.0f} ms"
        lines.append([method, f"{row['n_parameters']:,}", each, size(row["extra_bytes"])])
    return _table(["method", "numbers learned", "one step", "memory"], lines)


def _groups(results: Results, question: str) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Group rows by method and recipe, with methods in the order of the table of costs."""
    order = list(results["about"]["cost"])
    rows = [row for row in results["rows"] if row["question"] == question]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: order.index(row["method"])):  # stable
        lr = "-" if row["lr"] is None else f"{row['lr']:g}"
        groups.setdefault((row["method"], row["recipe"], lr), []).append(row)
    return groups


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
