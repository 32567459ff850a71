"""The look of all figures: colours, sizes, and panels for images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from clipnotes.plots.fonts import as_text

INK = "#24292f"  #: Text and lines
ACCENT = "#c2410c"  #: What the reader should look at
QUIET = "#9aa4ae"  #: Grid lines, the less important curve
HEAT = "magma"  #: One colour map for every amount; never inverted
TWO_SIDED = "RdBu_r"  #: For values around zero


def style() -> None:
    """Set the book's fonts, sizes and colours for all figures that follow.

    Example:
        >>> from clipnotes import plots
        >>> plots.style()
    """
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "savefig.bbox": "tight",
            "font.size": 10,
            "axes.titlesize": 10,
            "axes.edgecolor": QUIET,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.hashsalt": "clipnotes",
        }
    )


def panels(n: int, columns: int, size: float, titles: Sequence[str] | None = None) -> np.ndarray:
    """Make n titled Axes without ticks, in rows of ``columns``, as a flat array."""
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, size * rows), squeeze=False)
    figure.subplots_adjust(wspace=0.08, hspace=0.08 if titles is None else 0.32)
    text = as_text(titles or ())
    for i, ax in enumerate(axes.flat):
        bare(ax)
        ax.set_visible(i < n)
        if titles is not None and i < n:
            ax.set_title(titles[i], fontsize=8, pad=3, **text)
    return axes.ravel()[:n]


def limits(values: Tensor, two_sided: bool = False) -> dict[str, Any]:
    """Return the colour map and its two ends, for maps that share one scale."""
    values = values[values.isfinite()]
    low, high = float(values.min()), float(values.max())
    if two_sided:
        top = max(-low, high)
        return {"cmap": TWO_SIDED, "vmin": -top, "vmax": top}
    return {"cmap": HEAT, "vmin": low, "vmax": high}


def scale_beside(drawn: Any, axes: Any, label: str = "") -> None:
    """Draw the scale of the colours at the right of the figure."""
    bar = axes[0].figure.colorbar(drawn, ax=list(axes), fraction=0.03, pad=0.03, label=label)
    bar.outline.set_visible(False)


def bare(ax: Axes) -> None:
    """Remove ticks and frame, for images."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
