"""Draw where in the two towers a few-shot method puts the numbers that it learns."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from clipnotes.plots.theme import ACCENT, INK, QUIET

FROZEN = "#e8ecf0"
IMAGE, TEXT = 34, 12  # the heights of the two rows
FIRST, TOKEN, LAYERS, END, FEATURE, LOGITS = 13, 4.2, 46, 78, 85, 99  # from left to right


def method_sketch(
    name: str,
    n_layers: tuple[int, int],
    *,
    image: int = 0,
    text: int = 0,
    also: Collection[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw both towers as rows, image above and text below: CLIP in grey, the method coloured.

    Two coloured tokens in front of the layers stand for all that the first layer gets; a small box
    in each later layer stands for the fresh ones that it gets.

    Args:
        name: Of the method, written above.
        n_layers: The layers of the vision tower and of the text tower.
        image: How many layers of the vision tower get learned tokens, from the first on.
        text: How many layers of the text tower get learned tokens, from the first on.
        also: What else the method adds: "image to text" (a network moves the text's tokens with the
            image), "text to image" (maps make the image's tokens from the text's), "near the
            sentence" (a penalty), "cache" (of training images), "class features" (made from
            training images, in place of the text tower).
        ax: The Axes to draw in; ``None`` makes a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: More layers than there are, or a place that is not known.

    Example:
        >>> from clipnotes import plots
        >>> ax = plots.method_sketch("VPT, deep", (6, 3), image=6)
        >>> ax.get_title(loc="left")
        'VPT, deep'
    """
    for what, some, there in (("image", image, n_layers[0]), ("text", text, n_layers[1])):
        if not 0 <= some <= there:
            raise ValueError(f"{what} is {some}; give 0 to {there}, the layers of that tower")
    if unknown := set(also) - set(_EXTRA):
        raise ValueError(f"also has {sorted(unknown)}; known are {', '.join(_EXTRA)}")
    if ax is None:
        _, ax = plt.subplots(figsize=(4.4, 2.1))
    ax.set(xlim=(0, 106), ylim=(2, 46), aspect="equal")
    ax.axis("off")
    ax.set_title(name, loc="left", fontweight="bold", pad=2)
    prompts = ["v", "v"] if image else []
    _tower(ax, IMAGE, "image", ["", *prompts, "", "", ""], n_layers[0], image)
    if "class features" not in also:
        words = ["v", "v"] if text else ["a", "of"]
        _tower(ax, TEXT, "text", ["", *words, "name", ""], n_layers[1], text)
    _round(ax, IMAGE, "$u$", learned=False)
    _round(ax, TEXT, "$w_c$", learned="class features" in also)
    _box(ax, LOGITS - 4, (IMAGE + TEXT) / 2 - 3.5, 8, 7, learned=False)
    ax.text(LOGITS, (IMAGE + TEXT) / 2, "$z$", ha="center", va="center", color=INK)
    for y, end in ((IMAGE, 4), (TEXT, -4)):
        _arrow(ax, (FEATURE + 3.5, y - end / 2), (LOGITS - 1, (IMAGE + TEXT) / 2 + end))
    for place in also:
        _EXTRA[place](ax, image)
    return ax


def _tower(ax: Axes, y: float, name: str, tokens: list[str], n: int, prompted: int) -> None:
    """Draw a row: its tokens, its layers with the fresh tokens that they get, and its arrows."""
    ax.text(0, y, name, fontsize=8, va="center", color=INK)
    x, gap = float(FIRST), 0.6
    for token in tokens:
        width = TOKEN * (3 if token == "name" else 1) - gap
        _box(ax, x, y - 2.2, width, 4.4, learned=token == "v")
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7}
        ax.text(x + width / 2, y, token, color="white" if token == "v" else INK, **style)
        x += width + gap
    _arrow(ax, (x, y), (LAYERS - 0.3, y))
    each = (END - LAYERS) / n
    for layer in range(n):
        left = LAYERS + each * layer
        _box(ax, left, y - 6, each - min(0.8, each / 4), 12, learned=False)
        if 0 < layer < prompted:
            size = min(3.2, each / 2.4)
            _box(ax, left + min(0.6, each / 6), y - 5, size, size, learned=True)
    _arrow(ax, (END + 0.5, y), (FEATURE - 4, y))


def _box(ax: Axes, x: float, y: float, width: float, height: float, *, learned: bool) -> None:
    colours = (ACCENT, ACCENT) if learned else (FROZEN, QUIET)
    ax.add_patch(
        Rectangle((x, y), width, height, facecolor=colours[0], edgecolor=colours[1], lw=0.8)
    )


def _round(ax: Axes, y: float, name: str, *, learned: bool) -> None:
    colours = (ACCENT, ACCENT) if learned else (FROZEN, QUIET)
    ax.add_patch(Circle((FEATURE, y), 3.8, facecolor=colours[0], edgecolor=colours[1], lw=0.8))
    colour = "white" if learned else INK
    ax.text(FEATURE, y, name, ha="center", va="center", fontsize=9, color=colour)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    plain: dict[str, Any] = {"color": QUIET, "lw": 1.0, "arrowstyle": "->", "mutation_scale": 7}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **(plain | style)))


def _label(ax: Axes, x: float, y: float, said: str, width: float = 11) -> None:
    """Write a name in a coloured box of its own."""
    corner, shape = (x - width / 2, y - 2.8), "round,pad=0,rounding_size=1"
    box = FancyBboxPatch(corner, width, 5.6, boxstyle=shape)
    ax.add_patch(box).set(facecolor=ACCENT, edgecolor=ACCENT)
    ax.text(x, y, said, ha="center", va="center", fontsize=8, color="white")


def _image_to_text(ax: Axes, image: int) -> None:
    middle = (IMAGE + TEXT) / 2
    _arrow(ax, (FEATURE - 2.5, IMAGE - 3), (72, middle), color=ACCENT, arrowstyle="-")
    _arrow(ax, (72, middle), (35, middle), color=ACCENT, arrowstyle="-")
    _arrow(ax, (35, middle), (FIRST + 2 * TOKEN, TEXT + 2.6), color=ACCENT)
    _label(ax, 54, middle, "$h(u)$")


def _text_to_image(ax: Axes, image: int) -> None:
    x, middle = FIRST + 2 * TOKEN, (IMAGE + TEXT) / 2
    _arrow(ax, (x, TEXT + 2.6), (x, IMAGE - 2.6), color=ACCENT)
    _label(ax, x + 5, middle, "$F_1$", 7)
    if image > 1:
        _arrow(ax, (57, TEXT + 6.4), (57, IMAGE - 6.4), color=ACCENT)
        _label(ax, 66, middle, f"$F_2 \\dots F_{{{image}}}$", 15)


def _near_the_sentence(ax: Axes, image: int) -> None:
    ax.add_patch(Circle((LOGITS, TEXT - 6), 3.8, facecolor="white", edgecolor=QUIET, lw=0.8))
    ax.text(LOGITS, TEXT - 6, "$w_c^0$", ha="center", va="center", fontsize=9, color=INK)
    ends = {"arrowstyle": "<->", "linestyle": (0, (3, 2)), "color": ACCENT}
    _arrow(ax, (FEATURE + 3.8, TEXT - 1), (LOGITS - 4, TEXT - 5), **ends)


def _cache(ax: Axes, image: int) -> None:
    _label(ax, LOGITS - 0.5, IMAGE + 7, "cache", 14)
    _arrow(ax, (FEATURE + 3, IMAGE + 2.5), (LOGITS - 7.6, IMAGE + 6), color=ACCENT)
    _arrow(ax, (LOGITS, IMAGE + 4.2), (LOGITS, (IMAGE + TEXT) / 2 + 4), color=ACCENT)


def _class_features(ax: Axes, image: int) -> None:
    """Say where they come from: the text tower is not asked."""
    ax.text(FEATURE - 5, TEXT, "made from training images", ha="right", va="center", fontsize=8)


_EXTRA = {
    "image to text": _image_to_text,
    "text to image": _text_to_image,
    "near the sentence": _near_the_sentence,
    "cache": _cache,
    "class features": _class_features,
}
