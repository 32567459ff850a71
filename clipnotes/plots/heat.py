"""What lies over a picture or its patches: maps of any amount, and of attention."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from clipnotes.plots.images import to_picture
from clipnotes.plots.theme import HEAT, TWO_SIDED, bare, panels


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
    axes = panels(len(values), columns, size, titles)
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
    places = list(panels(len(attention), columns, size, titles)) if axes is None else axes
    for i, ax in enumerate(places):
        bare(ax)
        weight = (attention[i] / attention[i].max().clamp(min=1e-12))[None, None]
        large = torch.nn.functional.interpolate(weight, size=picture.shape[:2], mode="nearest")[
            0, 0
        ]
        ax.imshow((picture * (0.15 + 0.85 * large[..., None])).numpy())
    return places
