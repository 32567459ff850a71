"""Write the results of the benchmarks as JSON, as the README's table and as a figure."""

from __future__ import annotations

import io
import json
from typing import Any

START, END = "<!-- bench -->", "<!-- /bench -->"
Results = dict[str, Any]
BUSY = 0.5  # with a load above this, measured times are too long
NAMES = {"fast": "fast", "cut": "cut at the longest", "reference": "padded to the limit"}


def dumps(results: Results) -> str:
    """Write the results as JSON, with one line per row."""
    lines = ",\n".join(json.dumps(row) for row in results["rows"])
    return f'{{"about": {json.dumps(results["about"], indent=1)},\n"rows": [\n{lines}\n]}}\n'


def find(results: Results, **wanted: Any) -> list[dict[str, Any]]:
    """Return the rows that have these entries."""
    return [r for r in results["rows"] if all(r.get(k) == v for k, v in wanted.items())]


def table(results: Results) -> str:
    """Make the README's table for the most context tokens measured, and the text below it."""
    n_ctx = max(row["n_ctx"] for row in find(results, what="time"))
    lines = [
        "| text tower | classes | one step | than cut | than padded | of matmul speed "
        "| memory | padded |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in find(results, what="time", n_ctx=n_ctx):
        where = {"what": "memory", **{key: row[key] for key in ("tower", "classes", "n_ctx")}}
        (fast,) = find(results, way="fast", **where)
        (padded,) = find(results, way="reference", **where)
        faster = [
            f"{row['times_faster'][way]:.1f}x" if way in row["times_faster"] else "too large"
            for way in ("cut", "reference")
        ]
        cells = [
            row["tower"],
            f"{row['classes']:,}",
            seconds(row["seconds"]["fast"]),
            *faster,
            f"{row['matmul_share']:.0%}",
            size(fast["extra_bytes"]),
            "about " * ("not_run" in padded) + size(padded["extra_bytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_more(results, n_ctx)])


def _more(results: Results, n_ctx: int) -> list[str]:
    about, (fit,) = results["about"], find(results, what="fit")
    most = max(row["classes"] for row in find(results, what="memory", way="fast"))
    rows = find(results, what="memory", way="fast", classes=most, n_ctx=n_ctx)
    many = ", ".join(
        f"{size(row['extra_bytes'])} and {seconds(row['seconds'])} ({row['tower']})" for row in rows
    )
    busy = " **The machine was busy: these are not the times of a quiet one.**"
    return [
        f"A step encodes all classes with {n_ctx} context tokens, forward and backward, in "
        "float32: against the model's own tower with prompts cut at the longest, and padded to "
        "the tower's limit. The fourth number is the share that the necessary arithmetic reaches "
        "of the machine's own speed of matrix products; memory is what comes on top. "
        f"With {most:,} classes a step takes {many}.",
        f"`fit` with {fit['classes']} classes, {fit['shots']} shots and {fit['epochs']} epochs on "
        f"Emoji-CLIP takes {seconds(fit['seconds']['fit'])}, and the loop that encodes images "
        f"and padded prompts in each step {seconds(fit['seconds']['naive'])} "
        f"({fit['times_faster']:.0f} times as long; extrapolated from {fit['naive_epochs']} "
        "epochs).",
        f"{about['cpu']}, {about['threads']} threads, load before the run {about['load'][0]}, "
        f"torch {about['torch']}, {about['date']}." + busy * (about["load"][0] > BUSY),
    ]


def seconds(amount: float) -> str:
    """Write a time with two digits or three, as in "12 ms", "2.3 s" and "234 s"."""
    if amount < 1:
        return f"{1000 * amount:.0f} ms"
    return f"{amount:.1f} s" if amount < 100 else f"{amount:.0f} s"


def size(n_bytes: float) -> str:
    """Write an amount of memory, as in "12 MB" and "2.3 GB"."""
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.1f} GB"


def insert(readme: str, results: Results) -> str:
    """Put the table between the README's two markers."""
    each_once = readme.count(START) == readme.count(END) == 1
    if not each_once or readme.index(START) > readme.index(END):
        raise ValueError(f"the README needs {START} and, behind it, {END}, each once")
    before, rest = readme.split(START)
    return f"{before}{START}\n{table(results)}\n{END}{rest.split(END)[1]}"


def figure(results: Results) -> bytes:
    """Draw time and memory over the number of classes, one row of axes per tower, as a PNG."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from clipnotes import plots

    plots.style()
    n_ctx = max(row["n_ctx"] for row in find(results, what="time"))
    towers = list(dict.fromkeys(row["tower"] for row in find(results, what="time")))
    drawing, axes = plt.subplots(len(towers), 2, figsize=(9, 3 * len(towers)), squeeze=False)
    for tower, (left, right) in zip(towers, axes, strict=True):
        times = find(results, what="time", tower=tower, n_ctx=n_ctx)
        _draw(
            left,
            [row["classes"] for row in times],
            {NAMES[w]: [row["seconds"].get(w) for row in times] for w in NAMES},
            f"{tower}: seconds a step",
        )
        spaces = find(results, what="memory", tower=tower, n_ctx=n_ctx)
        classes = sorted({row["classes"] for row in spaces})
        ran = {(r["way"], r["classes"]): r["extra_bytes"] for r in spaces if "not_run" not in r}
        megabytes = {
            NAMES[way]: [ran[way, n] / 1e6 if (way, n) in ran else None for n in classes]
            for way in NAMES
        }
        _draw(right, classes, megabytes, f"{tower}: MB on top")
    drawing.tight_layout()
    stored = io.BytesIO()
    drawing.savefig(stored, format="png")
    plt.close(drawing)
    return stored.getvalue()


def _draw(ax: Any, classes: list[int], lines: dict[str, list[float | None]], ylabel: str) -> None:
    from clipnotes import plots

    numbers = {k: [float("nan") if y is None else y for y in v] for k, v in lines.items()}
    plots.curves(classes, numbers, "classes", ylabel, ax)
    for line in ax.get_lines():
        line.set_marker("o")
    ax.set(xscale="log", yscale="log")
