"""Draw images, as they are and as the model gets them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from PIL import Image
from torch import Tensor

from clipnotes.plots.theme import ACCENT, bare, panels


def to_picture(pixel_values: Tensor) -> np.ndarray:
    """Turn the model's input into an image, with each channel stretched to fill 0 to 1.

    A channel that has the same value everywhere cannot be stretched and becomes 1. Most drawings
    are on white, so such a channel is as bright as the paper.

    Args:
        pixel_values: (3, S, S), normalised by the image processor.

    Returns:
        (S, S, 3) floats in [0, 1].

    Example:
        >>> import torch
        >>> from clipnotes.plots import to_picture
        >>> to_picture(torch.randn(3, 64, 64)).shape
        (64, 64, 3)
    """
    pixels = pixel_values.detach().float().cpu()
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)  # (3, 1, 1)
    flat = high - low < 1e-6
    return ((pixels - low) / (high - low).clamp(min=1e-6) + flat).permute(1, 2, 0).numpy()


def pictures(
    images: Sequence[Image.Image],
    titles: Sequence[str] | None = None,
    columns: int = 6,
    size: float = 1.0,
) -> np.ndarray:
    """Draw images side by side, on white.

    Args:
        images: PIL images.
        titles: The titles of the images.
        columns: How many images are in a row.
        size: Inches per image.

    Returns:
        The Axes, one per image.

    Example:
        >>> from PIL import Image
        >>> from clipnotes import plots
        >>> len(plots.pictures([Image.new("RGB", (8, 8))] * 3))
        3
    """
    axes = panels(len(images), columns, size, titles)
    for ax, image in zip(axes, images, strict=True):
        ax.imshow(np.asarray(image))
    return axes


def patches(
    pixel_values: Tensor,
    patch_size: int,
    numbers: bool = False,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Draw a preprocessed image, and beside it the same image cut into patches.

    Args:
        pixel_values: (3, S, S).
        patch_size: Pixels along the side of a patch.
        numbers: Write its token number into each patch (0 is the class token).
        axes: Two Axes to draw in; ``None`` makes a new figure.

    Returns:
        Two Axes, of the image and of the patches.

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
    places = list(panels(2, 2, 3.0)) if axes is None else axes
    for ax, shown in zip(places, (picture, apart), strict=True):
        bare(ax)
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
    """Draw learned patch filters as small images in which grey is zero.

    Args:
        weight: (out_channels, 3, patch_size, patch_size), the weight of a convolution.
        columns: How many filters are in a row.
        count: How many to draw, the strongest (by norm) first; ``None`` draws all.

    Returns:
        The Axes, one per filter.

    Example:
        >>> import torch
        >>> from clipnotes import plots
        >>> len(plots.filters(torch.randn(12, 3, 8, 8), columns=6))
        12
    """
    weight = weight.detach().float().cpu()
    order = weight.flatten(1).norm(dim=1).argsort(descending=True)[:count]
    axes = panels(len(order), columns, 0.5)
    for ax, filter_ in zip(axes, weight[order], strict=True):
        ax.imshow((0.5 + 0.5 * filter_ / filter_.abs().max()).permute(1, 2, 0).numpy())
    return axes


def neighbours(
    queries: Sequence[Image.Image], found: Sequence[Sequence[Image.Image]], size: float = 0.8
) -> np.ndarray:
    """Draw one row per query: the query in a frame, then the images found, nearest first.

    Args:
        queries: n images.
        found: n lists of k images each.
        size: Inches per image.

    Returns:
        The Axes as an array (n, 1 + k); the first column holds the queries.

    Example:
        >>> from PIL import Image
        >>> from clipnotes import plots
        >>> dot = Image.new("RGB", (8, 8))
        >>> plots.neighbours([dot], [[dot, dot]]).shape
        (1, 3)
    """
    rows = [[query, *answers] for query, answers in zip(queries, found, strict=True)]
    axes = panels(sum(map(len, rows)), len(rows[0]), size).reshape(len(rows), -1)
    for row, images in zip(axes, rows, strict=True):
        for ax, image in zip(row, images, strict=True):
            ax.imshow(np.asarray(image))
        row[0].spines[:].set_visible(True)
        row[0].spines[:].set_color(ACCENT)
        row[0].spines[:].set_linewidth(2)
    axes[0, 0].set_title("query", fontsize=8, color=ACCENT)
    axes[0, 1].set_title("nearest", fontsize=8)
    return axes
