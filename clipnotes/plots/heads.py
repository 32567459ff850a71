"""Draw one small map per head, for all layers of a tower at once."""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from clipnotes.plots.heat import lit
from clipnotes.plots.theme import bare, limits, scale_beside


def by_head(
    values: Tensor,
    pixel_values: Tensor | None = None,
    two_sided: bool = False,
    label: str = "",
    size: float = 0.8,
) -> Axes:
    """Draw a table of maps, in which each row is a layer and each column a head.

    Args:
        values: (n_layers, H, rows, columns).
        pixel_values: (3, S, S), a preprocessed image. It is drawn in every map, bright where the
            map's values are large, and each map is scaled by its own largest value. ``None`` shows
            the values as colours, all on one scale.
        two_sided: Use colours around zero; only without an image.
        label: What the colours mean, written at their scale; only without an image.
        size: Inches per map.

    Returns:
        The Axes. All maps are in one figure on a single Axes, since 144 Axes would be slow.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> ax = plots.by_head(torch.rand(6, 4, 8, 8), torch.randn(3, 64, 64))
        >>> [label.get_text() for label in ax.get_xticklabels()]
        ['head 0', 'head 1', 'head 2', 'head 3']
    """
    values = values.detach().float().cpu()
    n_layers, n_heads = values.shape[:2]
    if pixel_values is None:
        tiles, empty = values[..., None], torch.nan  # (n_layers, H, rows, columns, 1)
    else:
        shown = [lit(pixel_values, each) for layer in values for each in layer]
        tiles, empty = torch.stack(shown).unflatten(0, (n_layers, n_heads)), 1.0  # (..., S, S, 3)
    height, width, channels = tiles.shape[2:]
    gap = max(1, height // 8)
    canvas = torch.full((n_layers, n_heads, height + gap, width + gap, channels), empty)
    canvas[:, :, :height, :width] = tiles
    whole = canvas.transpose(1, 2).flatten(2, 3).flatten(0, 1)[:-gap, :-gap]  # (., ., channels)

    ax = plt.subplots(figsize=(size * n_heads + 0.6, size * n_layers + 0.3))[1]
    bare(ax)
    drawn = ax.imshow(whole.squeeze(-1).numpy(), **limits(values, two_sided))
    if pixel_values is None:
        ax.set_facecolor("0.82")  # makes gaps grey, because a value of zero may be white
        scale_beside(drawn, [ax], label)
    steps = (n_heads, width, "head"), (n_layers, height, "layer")
    across, down = (
        ([i * (length + gap) + (length - 1) / 2 for i in range(n)], [f"{of} {i}" for i in range(n)])
        for n, length, of in steps
    )
    ax.set_xticks(*across, fontsize=8)
    ax.set_yticks(*down, fontsize=8)
    ax.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    return ax
