"""Where the inputs of a training step come from: a cache, cached views, or fresh images."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.inputs import Images, picture

Augment = Callable[[Image.Image, random.Random], Image.Image]
Draw = Callable[[int, Sequence[int]], Tensor]  # epoch, rows -> inputs, a row each


def random_crop_and_flip(image: Image.Image, rng: random.Random) -> Image.Image:
    """CoOp's augmentation: a crop of 8 to 100 % of the area, made square, and a mirror image.

    The crop's width is 3/4 to 4/3 of its height before it is made square, as in Inception's random
    resized crop (Szegedy et al. 2015). Half of the images are mirrored. The square's side is the
    image's shorter one; the image processor brings it to the model's size.

    Args:
        image: A PIL image.
        rng: Where the chance comes from; the same state gives the same image.

    Example:
        >>> random_crop_and_flip(Image.new("RGB", (80, 60)), random.Random(0)).size
        (60, 60)
    """
    width, height = image.size
    side = min(width, height)
    for _ in range(10):  # a shape that does not fit is drawn again
        area = width * height * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = max(1, round(math.sqrt(area * ratio))), max(1, round(math.sqrt(area / ratio)))
        if w <= width and h <= height:
            break
    else:
        w = h = side
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    image = image.resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + w, y + h))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image


def check_augment(images: Images, augment: Augment | None, views: int | None) -> None:
    """Check what :func:`inputs_for` cannot do."""
    if views is not None and augment is None:
        raise ValueError(
            f"views is {views!r} and augment is None; "
            "say how to augment, for instance augment=random_crop_and_flip"
        )
    if augment is None:
        return
    if not callable(augment):
        raise TypeError(
            f"augment is a {type(augment).__name__}; give a function (image, rng) -> image, "
            "for instance random_crop_and_flip"
        )
    if isinstance(images, Tensor):
        raise ValueError("a tensor cannot be augmented; give the images, or leave augment out")
    if views is not None and (isinstance(views, bool) or not isinstance(views, int) or views < 1):
        raise ValueError(f"views is {views!r}; give a whole number of at least 1, or None")


def inputs_for(
    learner: Classifier, images: Images, augment: Augment | None, views: int | None, seed: int
) -> Draw:
    """Make the function that gives the inputs of a training step."""
    # Where the inputs of all images are too many to be kept, each step reads and prepares what it
    # needs, which gives the same numbers, slowly.
    keeps = learner.may_keep(images, views or 1)
    if augment is None and keeps:
        inputs = learner.inputs_of(images)
        return lambda epoch, rows: inputs[list(rows)]
    pictures: Sequence[Image.Image] = images  # type: ignore[assignment]
    if views is None or not keeps:
        for i in range(len(pictures)):  # a file that cannot be read is found before training
            picture(pictures, i)
    if augment is None:
        return lambda epoch, rows: learner.inputs_of_rows(pictures, rows)
    augmented = augment

    def prepare(rows: Sequence[int], whats: Sequence[str]) -> Tensor:
        return learner.inputs_of(Augmented(pictures, augmented, rows, whats, seed))

    if views is None:
        return lambda epoch, rows: prepare(rows, [f"epoch {epoch}"] * len(rows))
    n_views = views

    def views_of(epoch: int, rows: Sequence[int]) -> list[int]:
        return [random.Random(f"{seed} epoch {epoch} row {i}").randrange(n_views) for i in rows]

    if not keeps:
        return lambda epoch, rows: prepare(rows, [f"view {k}" for k in views_of(epoch, rows)])
    everything = range(len(pictures))
    first = prepare(everything, ["view 0"] * len(pictures))
    cache = first.new_empty(views, *first.shape)  # (views, n, ...)
    cache[0] = first
    for k in range(1, views):
        cache[k] = prepare(everything, [f"view {k}"] * len(pictures))
    return lambda epoch, rows: cache[views_of(epoch, rows), list(rows)]


@dataclass(frozen=True, eq=False)
class Augmented(Sequence[Image.Image]):
    """Some rows of images, each read and augmented when it is asked for."""

    pictures: Sequence[Image.Image]
    augment: Augment
    rows: Sequence[int]
    whats: Sequence[str]  # what each is made for: an epoch or a view
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, j: Any) -> Any:
        i = self.rows[j]
        # Neither the order nor the number of processes that share the work changes an image.
        chance = random.Random(f"{self.seed} {self.whats[j]} row {i}")
        return self.augment(picture(self.pictures, i), chance)
