"""How a model's images are prepared, written down so that any program can do the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from clipnotes.checkpoints import Clip
from clipnotes.prompts.saved.home.serve import preprocess

SAME = 1e-5  # of the largest pixel
SIZES = ((61, 61), (97, 40), (40, 131), (300, 301))  # width, height


def written_down(clip: Clip) -> dict[str, Any]:
    """Write down what ``clip.preprocess`` does, and check that following it gives its pixels.

    Raises:
        ValueError: The image processor does something that this cannot say.
    """
    processor = clip.image_processor
    how: dict[str, Any] = {
        "orientation": "turned as the EXIF note says",
        "background": "white",
        "resize": None,
        "crop": None,
        "rescale": _number(processor, "do_rescale", "rescale_factor", 1.0),
        "mean": _numbers(processor, "image_mean", 0.0),
        "std": _numbers(processor, "image_std", 1.0),
        "channels": "RGB",
        "layout": ["batch", "channel", "height", "width"],
    }
    if getattr(processor, "do_resize", False):
        name = Image.Resampling(int(processor.resample)).name.lower()
        how["resize"] = {**_size(processor.size), "resampling": name}
    if getattr(processor, "do_center_crop", False):
        how["crop"] = _size(processor.crop_size)
    _check(clip, how)
    return how


def _size(size: Any) -> dict[str, int]:
    """Read a size, of which transformers has several kinds, with the entries that are filled."""
    entries = size if isinstance(size, Mapping) else vars(size)
    return {name: int(value) for name, value in entries.items() if value is not None}


def _number(processor: Any, switch: str, name: str, otherwise: float) -> float:
    return float(getattr(processor, name)) if getattr(processor, switch, False) else otherwise


def _numbers(processor: Any, name: str, otherwise: float) -> list[float]:
    if not getattr(processor, "do_normalize", False):
        return [otherwise] * 3
    return [float(number) for number in getattr(processor, name)]


def _check(clip: Clip, how: dict[str, Any]) -> None:
    draw = np.random.default_rng(0)
    for width, height in SIZES:
        noise = draw.integers(0, 256, (height, width, 4), dtype=np.uint8)  # with holes in it
        image = Image.fromarray(noise)
        wanted = clip.preprocess([image]).numpy()
        try:
            found = preprocess(image, how)
            off = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        except (ValueError, TypeError, KeyError) as error:
            off, why = float("inf"), f" ({error!r})"
        else:
            why = ""
        if not off <= SAME:
            raise ValueError(
                f"the image processor is a {type(clip.image_processor).__name__}, and resizing, "
                "cropping and normalising with pillow as its settings say does not give its "
                f"pixels: they differ by {off:.1g}{why}. Load the model with clipnotes.load, which "
                "takes the image processor for pillow"
            )
