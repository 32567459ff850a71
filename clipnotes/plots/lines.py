"""Draw lines over a common axis."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from clipnotes.plots.fonts import as_text
from clipnotes.plots.theme import ACCENT, INK, QUIET


def curves(
    x: Any,
    lines: dict[str, Any],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    spread: dict[str, Any] | None = None,
) -> Axes:
    """Draw named lines over a common axis, the first one in the accent colour.

    Args:
        x: n numbers.
        lines: Name -> n numbers.
        xlabel: What the x axis counts, with the unit.
        ylabel: What the y axis counts, with the unit.
        ax: The Axes to draw in; ``None`` makes a new figure.
        spread: Name -> n numbers: how wide the band on either side of that line is.

    Returns:
        The Axes.

    Example:
        >>> from clipnotes import plots
        >>> plots.curves([0, 1], {"a": [1, 2]}, "step", "loss").get_xlabel()
        'step'
    """
    if ax is None:
        ax = plt.subplots(figsize=(5.2, 3.0))[1]
    colours = [ACCENT, "#1d4ed8", INK, QUIET, "#15803d", "#a21caf"]
    for i, (name, y) in enumerate(lines.items()):
        colour, style = colours[i % len(colours)], ("-", "--", "-.")[i // len(colours) % 3]
        ax.plot(x, y, label=name, color=colour, linestyle=style)
        if spread and name in spread:
            y, by = np.asarray(y), np.asarray(spread[name])
            ax.fill_between(x, y - by, y + by, color=colour, alpha=0.15, linewidth=0)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if len(lines) > 1:
        for text in ax.legend().get_texts():
            text.set(**as_text(lines))
    return ax


def by_depth(values: dict[str, Tensor], ylabel: str, ax: Axes | None = None) -> Axes:
    """Draw how an amount changes from layer to layer, with its spread if there are many values.

    Args:
        values: Name -> (n_layers + 1,), or (n_layers + 1, n): then the line is the mean of the n
            values, and the band is one standard deviation on either side.
        ylabel: What was measured, with the unit.
        ax: The Axes to draw in; ``None`` makes a new figure.

    Returns:
        The Axes.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> plots.by_depth({"class token": torch.rand(7, 100)}, "length").get_xlabel()
        'layers passed'
    """
    many = {name: each.detach().float().view(len(each), -1) for name, each in values.items()}
    means = {name: each.mean(1) for name, each in many.items()}
    spread = {name: each.std(1) for name, each in many.items() if each.shape[1] > 1}
    depths = range(len(next(iter(many.values()))))
    ax = curves(depths, means, "layers passed", ylabel, ax=ax, spread=spread)
    ax.set_xticks(depths)
    return ax
