"""Draw how the shape of a tensor changes on its way through a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from clipnotes.plots.theme import ACCENT, INK, QUIET

MULTIPLIED = " \N{MULTIPLICATION SIGN} "


def shapes(steps: Sequence[tuple[str, str, str, Tensor]], ax: Axes | None = None) -> Axes:
    """Draw a box for each tensor, from top to bottom, with its shape in letters and in numbers.

    Args:
        steps: For each tensor: what leads to it (empty for the first), its name, a letter for each
            dimension as the book's notation has it ("B, N, D"), and the tensor itself.
        ax: The Axes to draw in; ``None`` makes a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: No step, or other letters than dimensions.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> x = torch.zeros(2, 3, 8, 8)
        >>> steps = [("", "pixel_values", "B, 3, S, S", x)]
        >>> [text.get_text() for text in plots.shapes(steps).texts[:3]]
        ['pixel_values', '(B, 3, S, S)', '2 × 3 × 8 × 8']
    """
    if not steps:
        raise ValueError("no step was given; at least one is needed")
    for _, name, letters, tensor in steps:
        if len(letters.split(",")) != tensor.ndim:
            raise ValueError(
                f"{name} has the letters {letters!r} and the shape {tuple(tensor.shape)}; give one "
                "letter for each dimension"
            )
    if ax is None:
        _, ax = plt.subplots(figsize=(4.8, 0.72 * len(steps) - 0.25))
    ax.set(xlim=(0, 100), ylim=(len(steps) - 0.35, -0.05))
    ax.axis("off")
    for row, (how, name, letters, tensor) in enumerate(steps):
        box = FancyBboxPatch(
            (1, row), 98, 0.55, boxstyle="round,pad=0,rounding_size=1", mutation_aspect=0.05
        )
        ax.add_patch(box).set(facecolor="#f6f8fa", edgecolor=QUIET, linewidth=1)
        numbers = MULTIPLIED.join(map(str, tensor.shape))
        middle: dict[str, Any] = {"va": "center", "color": INK}
        ax.text(4, row + 0.29, name, family="monospace", fontsize=8, **middle)
        ax.text(52, row + 0.29, f"({letters})", ha="center", fontweight="bold", **middle)
        ax.text(96, row + 0.29, numbers, ha="right", fontsize=8, **middle)
        if row:
            arrow = {"arrowstyle": "->", "color": ACCENT}
            ax.annotate("", (52, row - 0.02), xytext=(52, row - 0.43), arrowprops=arrow)
            ax.text(55, row - 0.23, how, va="center", fontsize=8, color=ACCENT)
    return ax
