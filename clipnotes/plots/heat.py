"""Draw maps over an image or its patches: of attention, or of any other amount."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from clipnotes.plots.images import to_picture
from clipnotes.plots.theme import bare, limits, panels, scale_beside


def maps(
    values: Tensor | Sequence[Tensor],
    titles: Sequence[str] | None = None,
    columns: int = 4,
    two_sided: bool = False,
    mark: Sequence[tuple[int, int]] | None = None,
    size: float = 1.6,
) -> np.ndarray:
    """Draw heat maps side by side on one colour scale.

    Args:
        values: (n, height, width), or n tensors that may differ in size.
        titles: The titles of the maps.
        columns: How many maps are in a row.
        two_sided: Use colours around zero instead of from low to high.
        mark: For each map, the (row, column) of a cell to frame.
        size: Inches per map.

    Returns:
        The Axes, one per map.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.maps(torch.rand(4, 8, 8)))
        4
    """
    values = [each.detach().float().cpu() for each in values]
    scale = limits(torch.cat([each.flatten() for each in values]), two_sided)
    axes = panels(len(values), columns, size, titles)
    drawn = None
    for i, ax in enumerate(axes):
        drawn = ax.imshow(values[i].numpy(), **scale)
        if mark is not None:
            y, x = mark[i]
            ax.add_patch(
                plt.Rectangle(
                    (x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor="#22d3ee", linewidth=2
                )
            )
    scale_beside(drawn, axes)
    return axes


def attention_over(
    pixel_values: Tensor,
    attention: Tensor,
    titles: Sequence[str] | None = None,
    columns: int = 4,
    size: float = 1.6,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Draw attention from one token to the patches over the image, bright where the token looks.

    Args:
        pixel_values: (3, S, S), the preprocessed image.
        attention: (n, rows, columns), the weights of the patches: one map per head or per layer.
        titles: The titles of the maps.
        columns: How many maps are in a row.
        size: Inches per map.
        axes: n Axes to draw in; ``None`` makes a new figure.

    Returns:
        The Axes, one per map. Each map is scaled by its own largest weight.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.attention_over(torch.randn(3, 64, 64), torch.rand(4, 8, 8)))
        4
    """
    attention = attention.detach().float().cpu()
    places = list(panels(len(attention), columns, size, titles)) if axes is None else axes
    for ax, weights in zip(places, attention, strict=True):
        bare(ax)
        ax.imshow(lit(pixel_values, weights).numpy())
    return places


def lit(pixel_values: Tensor, weights: Tensor) -> Tensor:
    """Light each patch of an image by its weight, the largest weight at full brightness."""
    picture = torch.from_numpy(to_picture(pixel_values))  # (S, S, 3)
    share = (weights / weights.max().clamp(min=1e-12))[None, None]  # (1, 1, rows, columns)
    light = interpolate(share, size=picture.shape[:2], mode="nearest")[0, 0]  # (S, S)
    return picture * (0.15 + 0.85 * light[..., None])


def text_maps(
    pixel_values: Tensor,
    values: Tensor,
    texts: Sequence[str],
    columns: int = 4,
    size: float = 1.8,
) -> np.ndarray:
    """Draw an image, and beside it how well its patches fit each text, on one colour scale.

    Args:
        pixel_values: (3, S, S), the preprocessed image.
        values: (n_texts, rows, columns), for instance cosines.
        texts: n_texts strings, written above the maps.
        columns: How many panels are in a row; the image is one of them.
        size: Inches per panel.

    Returns:
        The Axes: the image, then one per text. The image shows through the colours in grey.

    Raises:
        ValueError: The number of texts is not the number of maps.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.text_maps(torch.randn(3, 64, 64), torch.rand(2, 8, 8), ["tulip", "rose"]))
        3
    """
    if len(values) != len(texts):
        raise ValueError(f"{len(values)} maps and {len(texts)} texts were given; give as many")
    values, picture = values.detach().float().cpu(), to_picture(pixel_values)
    height, width = picture.shape[:2]
    axes = panels(len(values) + 1, columns, size, ["the image", *texts])
    axes[0].imshow(picture)
    drawn = None
    for ax, each in zip(axes[1:], values, strict=True):
        ax.imshow(picture.mean(-1), cmap="gray", vmin=0, vmax=1)
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # each patch over its own pixels
        drawn = ax.imshow(each.numpy(), extent=extent, alpha=0.7, **limits(values))
    scale_beside(drawn, axes)
    return axes


def positions(tables: Sequence[Tensor], titles: Sequence[str] | None = None) -> np.ndarray:
    """Draw how similar the position in the middle is to all others, for tables of several sizes.

    It is meant for comparing the learned positions with interpolated ones: the second map should
    be a smooth copy of the first.

    Args:
        tables: Position vectors, (rows, columns, D), without that of the class token.
        titles: The titles of the maps.

    Returns:
        The Axes, one per table: cosines, on one scale around zero.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> axes = plots.positions([torch.randn(8, 8, 16), torch.randn(14, 14, 16)])
        >>> [ax.images[0].get_array().shape for ax in axes]
        [(8, 8), (14, 14)]
    """
    similarities = []
    for table in tables:
        middle = table[table.shape[0] // 2, table.shape[1] // 2]  # (D,)
        similarities.append(cosine_similarity(table, middle, dim=-1))  # (rows, columns)
    return maps(similarities, titles, columns=len(similarities), two_sided=True, size=2.4)
