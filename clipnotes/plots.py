"""Figures of the book: functions that take tensors or pictures and return matplotlib Axes.

None of them calls ``show``, and none computes a model's output: what is drawn is what was given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

INK = "#24292f"  # text and lines
ACCENT = "#c2410c"  # what the reader should look at
QUIET = "#9aa4ae"  # grid lines, the less important curve
HEAT = "magma"  # one colour map for every amount; never inverted
TWO_SIDED = "RdBu_r"  # for values around zero


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


def _grid(n: int, columns: int, size: float, titles: Sequence[str] | None = None) -> np.ndarray:
    """A flat array of titled Axes, `columns` wide, without ticks; the unused ones are hidden."""
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(size * columns, size * rows), squeeze=False)
    figure.subplots_adjust(wspace=0.08, hspace=0.08 if titles is None else 0.32)
    for i, ax in enumerate(axes.flat):
        _bare(ax)
        ax.set_visible(i < n)
        if titles is not None and i < n:
            ax.set_title(titles[i], fontsize=8, pad=3)
    return axes.ravel()[:n]


def _bare(ax: Axes) -> None:
    """No ticks and no frame: for pictures."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def to_picture(pixel_values: Tensor) -> np.ndarray:
    """What the model sees, as a picture: each channel stretched to fill 0 to 1.

    Args:
        pixel_values: (3, H, W), normalised as the image processor does.

    Returns:
        (H, W, 3) float in [0, 1].

    Example:
        >>> import torch
        >>> from clipnotes.plots import to_picture
        >>> to_picture(torch.randn(3, 64, 64)).shape
        (64, 64, 3)
    """
    pixels = pixel_values.detach().float()
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)  # (3, 1, 1)
    return ((pixels - low) / (high - low).clamp(min=1e-6)).permute(1, 2, 0).numpy()


def pictures(
    images: Sequence[Image.Image],
    titles: Sequence[str] | None = None,
    columns: int = 6,
    size: float = 1.0,
) -> np.ndarray:
    """Pictures side by side, on white.

    Args:
        images: PIL pictures.
        titles: a line above each.
        columns: pictures in a row.
        size: inches per picture.

    Returns:
        The Axes, one a picture.

    Example:
        >>> from PIL import Image
        >>> from clipnotes import plots
        >>> len(plots.pictures([Image.new("RGB", (8, 8))] * 3))
        3
    """
    axes = _grid(len(images), columns, size, titles)
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(np.asarray(image))
    return axes


def patches(
    pixel_values: Tensor,
    patch_size: int,
    numbers: bool = False,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """A picture as preprocessed, and beside it the same cut into its patches.

    Args:
        pixel_values: (3, H, W).
        patch_size: pixels along a patch's side.
        numbers: write each patch's token number into it (0 is the class token).
        axes: two places to draw in. None: a new figure.

    Returns:
        Two Axes: the picture, the patches.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.patches(torch.randn(3, 64, 64), patch_size=8))
        2
    """
    picture = to_picture(pixel_values)
    height, width = picture.shape[0] // patch_size, picture.shape[1] // patch_size
    gap = max(1, patch_size // 8)
    step = patch_size + gap
    apart = np.full((height * step - gap, width * step - gap, 3), 0.82)
    for row in range(height):
        for column in range(width):
            piece = picture[row * patch_size :, column * patch_size :][:patch_size, :patch_size]
            apart[row * step :, column * step :][:patch_size, :patch_size] = piece
    places = list(_grid(2, 2, 3.0)) if axes is None else axes
    for ax, shown in zip(places, (picture, apart), strict=True):
        _bare(ax)
        ax.imshow(shown)
    if numbers:
        for i in range(height * width):
            y, x = divmod(i, width)
            spot = (x * step + patch_size / 2 - 0.5, y * step + patch_size / 2 - 0.5)
            label = places[1].text(
                *spot, str(i + 1), ha="center", va="center", fontsize=6, color=ACCENT
            )
            label.set_path_effects([withStroke(linewidth=2, foreground="white")])
    return places


def filters(weight: Tensor, columns: int = 16, count: int | None = None) -> np.ndarray:
    """The learned patch filters, as small pictures; grey is zero.

    Args:
        weight: (out_channels, 3, patch_size, patch_size), a convolution's weight.
        columns: filters in a row.
        count: how many to draw, the strongest (by norm) first. None: all.

    Returns:
        The Axes, one a filter.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.filters(torch.randn(12, 3, 8, 8), columns=6))
        12
    """
    weight = weight.detach().float()
    order = weight.flatten(1).norm(dim=1).argsort(descending=True)[:count]
    axes = _grid(len(order), columns, 0.5)
    for ax, filter_ in zip(axes, weight[order], strict=True):
        ax.imshow((0.5 + 0.5 * filter_ / filter_.abs().max()).permute(1, 2, 0).numpy())
    return axes


def maps(
    values: Tensor,
    titles: Sequence[str] | None = None,
    columns: int = 4,
    two_sided: bool = False,
    mark: Sequence[tuple[int, int]] | None = None,
    size: float = 1.6,
) -> np.ndarray:
    """Heat maps side by side on one colour scale.

    Args:
        values: (n, height, width).
        titles: a line above each.
        columns: maps in a row.
        two_sided: colours around zero instead of from low to high.
        mark: the (row, column) of a cell to frame, one a map.
        size: inches per map.

    Returns:
        The Axes, one a map.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.maps(torch.rand(4, 8, 8)))
        4
    """
    values = values.detach().float()
    top = float(values.abs().max())
    scale = (
        {"vmin": -top, "vmax": top}
        if two_sided
        else {"vmin": float(values.min()), "vmax": float(values.max())}
    )
    axes = _grid(len(values), columns, size, titles)
    drawn = None
    for i, ax in enumerate(axes):
        drawn = ax.imshow(values[i].numpy(), cmap=TWO_SIDED if two_sided else HEAT, **scale)
        if mark is not None:
            y, x = mark[i]
            ax.add_patch(
                plt.Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="#22d3ee", linewidth=2
                )
            )
    bar = axes[0].figure.colorbar(drawn, ax=list(axes), fraction=0.03, pad=0.03)
    bar.outline.set_visible(False)
    return axes


def attention_over(
    pixel_values: Tensor,
    attention: Tensor,
    titles: Sequence[str] | None = None,
    columns: int = 4,
    size: float = 1.6,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Attention from one token to the patches, over the picture: bright where it looks.

    Args:
        pixel_values: (3, H, W), the picture as preprocessed.
        attention: (n, rows, columns) weights of the patches, a map a head or a layer.
        titles: a line above each.
        columns: maps in a row.
        size: inches per map.
        axes: as many places to draw in. None: a new figure.

    Returns:
        The Axes, one a map. Each map is scaled by its own largest weight.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.attention_over(torch.randn(3, 64, 64), torch.rand(4, 8, 8)))
        4
    """
    picture = torch.from_numpy(to_picture(pixel_values))
    attention = attention.detach().float()
    places = list(_grid(len(attention), columns, size, titles)) if axes is None else axes
    for i, ax in enumerate(places):
        _bare(ax)
        weight = (attention[i] / attention[i].max().clamp(min=1e-12))[None, None]
        large = torch.nn.functional.interpolate(weight, size=picture.shape[:2], mode="nearest")[
            0, 0
        ]
        ax.imshow((picture * (0.15 + 0.85 * large[..., None])).numpy())
    return places


def curves(
    x: Any,
    lines: dict[str, Any],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    spread: dict[str, Any] | None = None,
) -> Axes:
    """Named lines over a common axis; the first one in the accent colour.

    Args:
        x: n numbers.
        lines: name -> n numbers each.
        xlabel: what the x axis counts, with the unit.
        ylabel: the same for the y axis.
        ax: where to draw. None: a new figure.
        spread: name -> n numbers: a band of that much on either side of the line.

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
        ax.legend()
    return ax


def neighbours(
    queries: Sequence[Image.Image], found: Sequence[Sequence[Image.Image]], size: float = 0.8
) -> np.ndarray:
    """A row a query: the query, a gap, and what was found, nearest first.

    Args:
        queries: n pictures.
        found: n lists of equally many pictures.
        size: inches per picture.

    Returns:
        The Axes as an array (n, 1 + found); the first column holds the queries.

    Example:
        >>> from PIL import Image
        >>> from clipnotes import plots
        >>> dot = Image.new("RGB", (8, 8))
        >>> plots.neighbours([dot], [[dot, dot]]).shape
        (1, 3)
    """
    rows = [[query, *answers] for query, answers in zip(queries, found, strict=True)]
    axes = _grid(sum(map(len, rows)), len(rows[0]), size).reshape(len(rows), -1)
    for row, images in zip(axes, rows, strict=True):
        for ax, image in zip(row, images, strict=True):
            ax.imshow(np.asarray(image))
        row[0].spines[:].set_visible(True)
        row[0].spines[:].set_color(ACCENT)
        row[0].spines[:].set_linewidth(2)
    axes[0, 0].set_title("query", fontsize=8, color=ACCENT)
    axes[0, 1].set_title("nearest", fontsize=8)
    return axes


def token_map(
    values: Tensor, tokens: Sequence[str], mark: int | None = None, ax: Axes | None = None
) -> Axes:
    """Which token (row) has to do with which (column), as an amount.

    Args:
        values: (N, N): attention weights, or a mask of what is allowed.
        tokens: N of them, written along both sides.
        mark: a row to frame.
        ax: a place to draw in. None: a new figure.

    Returns:
        The Axes.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> ax = plots.token_map(torch.eye(3), ["start", "tulip", "end"], mark=2)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['start', 'tulip', 'end']
    """
    n = len(tokens)
    if values.shape != (n, n):
        raise ValueError(f"values is {tuple(values.shape)}; {n} tokens need ({n}, {n})")
    if ax is None:
        side = max(2.2, 0.36 * n)
        _, ax = plt.subplots(figsize=(side, side))
    ax.imshow(values.detach().float().cpu().numpy(), cmap=HEAT, vmin=0)
    ax.set_xticks(range(n), tokens, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set_yticks(range(n), tokens, fontsize=8)
    ax.tick_params(length=0)
    ax.set(xlabel="looks at", ylabel="this token")
    ax.spines[:].set_visible(False)
    if mark is not None:
        frame = Rectangle((-0.5, mark - 0.5), n, 1, fill=False, edgecolor=ACCENT, linewidth=2)
        ax.add_patch(frame).set_clip_on(False)
    return ax


def prompt_layout(
    tokens: Sequence[Sequence[str]], ctx_positions: Tensor, eos: Tensor, ax: Axes | None = None
) -> Axes:
    """Prompts as rows of cells, a cell a token: where context, name and end stand.

    Args:
        tokens: n_classes lists of N tokens, written into the cells of the names.
        ctx_positions: (n_classes, n_ctx), the places of the context vectors, written v1, v2, ...
        eos: (n_classes,), the places of the ends. What stands behind them is padding, left white.
        ax: a place to draw in. None: a new figure.

    Returns:
        The Axes.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> places, ends = torch.tensor([[1, 2]]), torch.tensor([4])
        >>> ax = plots.prompt_layout([["<s>", "x", "x", "rose", "</s>"]], places, ends)
        >>> [text.get_text() for text in ax.texts]
        ['start', 'v1', 'v2', 'rose', 'end']
    """
    rows, columns = len(tokens), max(map(len, tokens))
    if ax is None:
        ax = plt.subplots(figsize=(0.6 * columns, 0.35 * rows))[1]
    _bare(ax)
    for y, (row, places, end) in enumerate(
        zip(tokens, ctx_positions.tolist(), eos.tolist(), strict=True)
    ):
        for x, token in enumerate(row[: end + 1]):
            text, colour = token.removesuffix("</w>"), "#bfdbfe"
            if x in places:
                text, colour = f"v{places.index(x) + 1}", "#fdba74"
            elif x in (0, end):
                text, colour = "end" if x else "start", "#d1d5db"
            ax.add_patch(Rectangle((x + 0.03, y + 0.06), 0.94, 0.88, facecolor=colour))
            ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7)
    ax.set(xlim=(0, columns), ylim=(rows, 0))
    return ax


def similarity(
    values: Tensor, images: Sequence[Image.Image], texts: Sequence[str], size: float = 0.5
) -> Axes:
    """A table of pictures (rows) and texts (columns), with the value in each cell.

    Args:
        values: (n_images, n_texts), for instance cosines.
        images: n_images PIL pictures, drawn at the left of their rows.
        texts: n_texts, written over their columns.
        size: inches per cell.

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
    values = values.detach().float()
    rows, columns = values.shape
    ax = plt.subplots(figsize=(size * (columns + 1), size * (rows + 1)))[1]
    _bare(ax)
    ax.imshow(values.numpy(), cmap=HEAT)
    light = values.min() + 0.6 * (values.max() - values.min())  # the map's upper end is light
    for row, line in enumerate(values.tolist()):
        for column, value in enumerate(line):
            ink = "black" if value > light else "white"
            shown = f"{round(value, 2) + 0.0:.2f}"  # never "-0.00"
            ax.text(column, row, shown, ha="center", va="center", fontsize=7, color=ink)
    for row, image in zip(range(rows), images, strict=True):
        place = ax.inset_axes((-1.45, row - 0.43, 0.86, 0.86), transform=ax.transData)
        _bare(place)
        place.imshow(np.asarray(image))
    ax.set_xticks(range(columns), list(texts), rotation=45, ha="left", fontsize=8)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    return ax


def confusion(matrix: Tensor, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """What is taken for what: a row a true class, a column a class said, bright where it happens.

    The colour is the part of the row; the number, written for up to 30 classes, counts pictures. A
    class without pictures has an empty row.

    Args:
        matrix: (n, n) counts, as ``evaluate(...).confusion`` has them.
        names: the n classes.
        ax: where to draw. None: a new figure that grows with n.

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
    part = (matrix / matrix.sum(dim=1, keepdim=True).clamp(min=1)).cpu().numpy()
    ax.imshow(part, cmap=HEAT, vmin=0, vmax=1)
    size = max(3, min(9, 500 / n))
    ax.set_xticks(range(n), names, rotation=90, fontsize=size)
    ax.set_yticks(range(n), names, fontsize=size)
    ax.set(xlabel="class said", ylabel="true class")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    for i, j in matrix.nonzero().tolist() if n <= 30 else ():
        colour = "black" if part[i, j] > 0.6 else "white"
        ax.text(j, i, f"{int(matrix[i, j])}", ha="center", va="center", color=colour, fontsize=8)
    return ax
