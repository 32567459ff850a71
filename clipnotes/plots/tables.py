"""Draw tables of numbers: images against texts, and classes against classes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from PIL import Image
from torch import Tensor

from clipnotes.plots.fonts import as_text
from clipnotes.plots.theme import HEAT, bare


def similarity(
    values: Tensor, images: Sequence[Image.Image], texts: Sequence[str], size: float = 0.5
) -> Axes:
    """Draw a table of images (rows) and texts (columns), with the value in each cell.

    Args:
        values: (n_images, n_texts), for instance cosines.
        images: n_images PIL images, drawn at the left of their rows.
        texts: n_texts strings, written over their columns.
        size: Inches per cell.

    Returns:
        The Axes of the table.

    Example:
        >>> import torch
        >>> from PIL import Image
        >>> from clipnotes import plots
        >>> ax = plots.similarity(torch.eye(2), [Image.new("RGB", (8, 8))] * 2, ["a", "b"])
        >>> [text.get_text() for text in ax.texts]
        ['1.00', '0.00', '0.00', '1.00']
    """
    values = values.detach().float().cpu()
    rows, columns = values.shape
    ax = plt.subplots(figsize=(size * (columns + 1), size * (rows + 1)))[1]
    bare(ax)
    ax.imshow(values.numpy(), cmap=HEAT)
    light = values.min() + 0.6 * (values.max() - values.min())  # the map's upper end is light
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            ink = "black" if value > light else "white"
            shown = f"{round(value, 2) + 0.0:.2f}"  # adding 0.0 turns "-0.00" into "0.00"
            ax.text(column, row, shown, ha="center", va="center", fontsize=7, color=ink)
    for row, image in zip(range(rows), images, strict=True):
        place = ax.inset_axes((-1.45, row - 0.43, 0.86, 0.86), transform=ax.transData)
        bare(place)
        place.imshow(np.asarray(image))
    text = as_text(texts)
    ax.set_xticks(range(columns), list(texts), rotation=45, ha="left", fontsize=8, **text)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    return ax


def confusion(matrix: Tensor, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw which class is taken for which: each row is a true class, each column a predicted one.

    The colour is the share of the row's images. Up to 30 classes, the cells also show the number
    of images. A class without images has an empty row.

    Args:
        matrix: (n, n) counts, such as ``evaluate(...).confusion``.
        names: The names of the n classes.
        ax: The Axes to draw in; ``None`` makes a new figure, which grows with n.

    Returns:
        The Axes.

    Raises:
        ValueError: The matrix does not fit the names.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> plots.confusion(torch.tensor([[3, 1], [0, 2]]), ["rose", "tulip"]).get_ylabel()
        'true class'
    """
    n = len(names)
    if tuple(matrix.shape) != (n, n):
        raise ValueError(f"the matrix is {tuple(matrix.shape)} and {n} names were given")
    if ax is None:
        side = min(2 + 0.36 * n, 24)
        ax = plt.subplots(figsize=(side, side))[1]
    share = (matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)).cpu().numpy()
    ax.imshow(share, cmap=HEAT, vmin=0, vmax=1)
    size = max(3, min(9, 500 / n))
    text = as_text(names)
    ax.set_xticks(range(n), names, rotation=90, fontsize=size, **text)
    ax.set_yticks(range(n), names, fontsize=size, **text)
    ax.set(xlabel="class said", ylabel="true class")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    for i, j in matrix.nonzero().tolist() if n <= 30 else ():
        colour = "black" if share[i, j] > 0.6 else "white"
        ax.text(j, i, f"{int(matrix[i, j])}", ha="center", va="center", color=colour, fontsize=8)
    return ax
