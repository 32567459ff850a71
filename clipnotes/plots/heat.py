"""What lies over a picture or its patches: maps of any amount, and of attention."""

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
    """Heat maps side by side on one colour scale.

    Args:
        values: (n, height, width), or n tensors that may differ in size.
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
    attention = attention.detach().float().cpu()
    places = list(panels(len(attention), columns, size, titles)) if axes is None else axes
    for ax, weights in zip(places, attention, strict=True):
        bare(ax)
        ax.imshow(lit(pixel_values, weights).numpy())
    return places


def lit(pixel_values: Tensor, weights: Tensor) -> Tensor:
    """The picture with each patch as bright as its weight, the largest weight at full light."""
    picture = torch.from_numpy(to_picture(pixel_values))  # (H, W, 3)
    share = (weights / weights.max().clamp(min=1e-12))[None, None]  # (1, 1, rows, columns)
    light = interpolate(share, size=picture.shape[:2], mode="nearest")[0, 0]  # (H, W)
    return picture * (0.15 + 0.85 * light[..., None])


def text_maps(
    pixel_values: Tensor,
    values: Tensor,
    texts: Sequence[str],
    columns: int = 4,
    size: float = 1.8,
) -> np.ndarray:
    """A picture, and beside it how well each of its patches fits each text, on one colour scale.

    Args:
        pixel_values: (3, H, W), the picture as preprocessed.
        values: (n_texts, rows, columns), for instance cosines.
        texts: n_texts, written above the maps.
        columns: panels in a row, the picture included.
        size: inches per panel.

    Returns:
        The Axes: the picture, then one a text. The picture shows through the colours in grey.

    Raises:
        ValueError: there are not as many texts as maps.

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
    axes = panels(len(values) + 1, columns, size, ["the picture", *texts])
    axes[0].imshow(picture)
    drawn = None
    for ax, each in zip(axes[1:], values, strict=True):
        ax.imshow(picture.mean(-1), cmap="gray", vmin=0, vmax=1)
        over = (-0.5, width - 0.5, height - 0.5, -0.5)  # each patch over its own pixels
        drawn = ax.imshow(each.numpy(), extent=over, alpha=0.7, **limits(values))
    scale_beside(drawn, axes)
    return axes


def positions(tables: Sequence[Tensor], titles: Sequence[str] | None = None) -> np.ndarray:
    """How similar the position in the middle is to all others, in tables of several sizes.

    Meant for the learned positions and the same after interpolation: the second map should be a
    smooth copy of the first.

    Args:
        tables: position vectors as (rows, columns, D), without that of the class token.
        titles: a line above each.

    Returns:
        The Axes, one a table: cosines, on one scale around zero.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> axes = plots.positions([torch.randn(8, 8, 16), torch.randn(14, 14, 16)])
        >>> [ax.images[0].get_array().shape for ax in axes]
        [(8, 8), (14, 14)]
    """
    found = []
    for table in tables:
        middle = table[table.shape[0] // 2, table.shape[1] // 2]  # (D,)
        found.append(cosine_similarity(table, middle, dim=-1))  # (rows, columns)
    return maps(found, titles, columns=len(found), two_sided=True, size=2.4)
