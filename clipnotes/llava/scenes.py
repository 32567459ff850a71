"""Scenes: one to four drawings on a coloured background, made by a seed, and what is in them."""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from clipnotes.llava.things import CALLED, KIND_OF, NAMES

SIZE = 64  # pixels of a scene's side, as Emoji-CLIP's tower takes them
MIDDLE = "in the middle"
PLACES = ("top left", "top right", "bottom left", "bottom right")  # reading order
LARGE = 0.15  # share of the scenes with one large drawing in the middle
TWINS = 0.3  # share of the scenes of several drawings where a thing appears again
COLOURS: dict[str, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "grey": (150, 150, 150),
    "red": (220, 60, 60),
    "orange": (245, 150, 50),
    "yellow": (245, 225, 80),
    "green": (90, 180, 90),
    "blue": (80, 130, 230),
    "purple": (150, 90, 200),
    "pink": (250, 170, 205),
}
JITTER = 12  # grey levels by which each channel of a background may differ


@dataclass(frozen=True)
class Scene:
    """What one sees in a scene: its image, its background, and the things by their places.

    Attributes:
        image: RGB, 64 x 64.
        background: A name from ``COLOURS``.
        things: The things by their places: up to four of ``PLACES``, or one ``MIDDLE``.
    """

    image: Image.Image
    background: str
    things: dict[str, str]


Drawings = Mapping[str, Sequence[Image.Image]]


@functools.cache
def drawings_of(style: str) -> dict[str, list[Image.Image]]:
    """Read one designer's drawings of the things that there are words for.

    Args:
        style: A designer's set in the emoji data set, such as "twemoji".

    Returns:
        Name -> its drawings, RGBA.

    Raises:
        ValueError: There is no such designer.

    Example:
        >>> len(drawings_of("twemoji")["tulip"])
        1
    """
    from clipnotes.data import load_emoji

    rows = load_emoji(style=style)
    found: dict[str, list[Image.Image]] = {}
    for i, name in enumerate(rows["name"]):
        name = CALLED.get(name, name)
        if name in KIND_OF:
            found.setdefault(name, []).append(rows[i]["image"])
    return found


def _paste(canvas: Image.Image, drawing: Image.Image, size: int, x: int, y: int) -> None:
    small = drawing.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
    canvas.paste(small, (x, y), small)


def make_scene(drawings: Drawings, rng: random.Random) -> Scene:
    """Make a scene of these drawings, by these random numbers."""
    background = rng.choice(list(COLOURS))
    colour = [c + rng.randint(-JITTER, JITTER) for c in COLOURS[background]]
    canvas = Image.new("RGB", (SIZE, SIZE), tuple(min(255, max(0, c)) for c in colour))
    names = list(drawings)
    if rng.random() < LARGE:
        name, size = rng.choice(names), rng.randint(48, 62)
        x, y = rng.randint(0, SIZE - size), rng.randint(0, SIZE - size)
        _paste(canvas, rng.choice(drawings[name]), size, x, y)
        return Scene(canvas, background, {MIDDLE: name})
    count = rng.randint(1, 4)
    there = rng.sample(names, count) if len(names) >= count else rng.choices(names, k=count)
    if count > 1 and rng.random() < TWINS:
        there[rng.randrange(1, count)] = there[0]
        rng.shuffle(there)
    filled = sorted(rng.sample(range(len(PLACES)), count))
    for place, name in zip(filled, there, strict=True):
        size = rng.randint(24, 32)
        x, y = (side * 32 + rng.randint(0, 32 - size) for side in (place % 2, place // 2))
        _paste(canvas, rng.choice(drawings[name]), size, x, y)
    return Scene(canvas, background, {PLACES[p]: n for p, n in zip(filled, there, strict=True)})


def make_scenes(
    n: int, style: str = "twemoji", seed: int = 0, things: Sequence[str] | None = None
) -> list[Scene]:
    """Make scenes of one designer's drawings; the same seed makes the same scenes.

    Args:
        n: How many scenes.
        style: A designer's set in the emoji data set.
        seed: Another seed makes other scenes.
        things: Names to choose from. ``None`` means all of ``clipnotes.llava.NAMES``.

    Returns:
        The scenes.

    Raises:
        ValueError: `n` is negative, or there is no such designer or thing.

    Example:
        >>> scene = make_scenes(1, seed=3)[0]
        >>> scene.image.size
        (64, 64)
    """
    if n < 0:
        raise ValueError(f"n is {n}; give the number of scenes, 0 or more")
    drawings = drawings_of(style)
    if things is not None:
        if not things:
            raise ValueError("things is empty; name at least one, or leave it out for all")
        unknown = [name for name in things if name not in drawings]
        if unknown:
            raise ValueError(
                f"no thing {unknown[0]!r} among the drawings of {style!r}; choose from "
                f"clipnotes.llava.NAMES, such as {', '.join(NAMES[:5])}"
            )
        drawings = {name: drawings[name] for name in things}
    rng = random.Random(seed)
    return [make_scene(drawings, rng) for _ in range(n)]
