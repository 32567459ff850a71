"""Images that are open become what a vision tower takes, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image
from torch import Tensor

from clipnotes.pictures.composite import composite
from clipnotes.pictures.upright import is_plain


def prepare(image_processor: Any, images: Sequence[Image.Image]) -> Iterator[Tensor]:
    """Make pixels, (1, 3, S, S), of one image after the other, as ``Clip.preprocess`` says."""
    if isinstance(images, Image.Image):
        raise TypeError("one image was given; give a list: [image]")
    if not hasattr(images, "__len__"):
        raise TypeError(f"a {type(images).__name__} was given; give a list of images")
    if len(images) == 0:
        raise ValueError("no image was given; at least one is needed")
    for i, image in enumerate(images):
        if not isinstance(image, Image.Image):
            raise TypeError(f"image {i} is a {type(image).__name__}; PIL images are needed")
        if 0 in image.size:
            raise ValueError(
                f"image {i} is {image.size[0]} x {image.size[1]} pixels; nothing to see"
            )
        ready = image if is_plain(image) else composite(image)
        yield image_processor([ready], return_tensors="pt")["pixel_values"]
