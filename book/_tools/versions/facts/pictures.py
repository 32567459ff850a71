"""Pictures in this version: what becomes of transparency, and what the model gets to see."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import get_image_size

from _tools.versions.facts.words import attempt
from clipnotes import Clip, compat

RED = (255, 0, 0)


def as_bytes(pixel_values: torch.Tensor, processor: Any) -> np.ndarray:
    """Turn the last steps back: (H, W, 3) of whole numbers, which no machine rounds differently."""
    array = pixel_values[0].permute(1, 2, 0).numpy()
    array = array * np.array(processor.image_std) + np.array(processor.image_mean)
    return (array * 255).round().astype(np.uint8)


def palette() -> Image.Image:
    """A picture of one colour out of a palette, and that colour is transparent."""
    image = Image.new("P", (40, 40))
    image.putpalette(RED)
    image.info["transparency"] = 0
    return image


def pictures() -> dict[str, Image.Image]:
    """Drawn by arithmetic, so that no decoder has a part in them."""
    row, column = np.mgrid[:40, :90]
    channels = [row * 6, column * 2, (row * column) % 256, 255 - column * 2]
    wide = Image.fromarray(np.stack(channels, -1).astype(np.uint8), "RGBA")
    tall = wide.transpose(Image.Transpose.ROTATE_90)
    return {
        "wide, half transparent": wide,
        "tall": tall.convert("RGB"),
        "grey": tall.convert("L"),
        "palette": palette(),
    }


def facts() -> dict[str, object]:
    """What chapter 1 says about this version's image processor."""
    processor = compat.image_processor_class()(size={"shortest_edge": 32}, crop_size=32)
    given = Clip(None, None, processor)
    red = {"RGBA": Image.new("RGBA", (40, 40), (*RED, 0)), "palette": palette()}

    def colour(pixel_values: torch.Tensor) -> str:
        return " ".join(map(str, as_bytes(pixel_values, processor)[0, 0]))

    alone = processor([red["RGBA"]], return_tensors="pt")["pixel_values"]
    of_palette = processor([red["palette"]], return_tensors="pt")["pixel_values"]
    seen = {
        name: zlib.crc32(as_bytes(given.preprocess([picture]), processor).tobytes())
        for name, picture in pictures().items()
    }
    wide = Image.new("RGB", (90, 40))
    return {
        "transparent_red": {
            "the processor alone": colour(alone),
            "clip.preprocess": colour(given.preprocess([red["RGBA"]])),
        },
        "transparent_red_of_a_palette": {
            "the processor alone": colour(of_palette),
            "clip.preprocess": colour(given.preprocess([red["palette"]])),
        },
        "checksum_of_what_clip_preprocess_gives": {name: f"{n:08x}" for name, n in seen.items()},
        "size_of_a_picture_90_wide_and_40_high": attempt(lambda: get_image_size(wide), str),
    }
