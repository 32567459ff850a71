"""Images of more than 8 bits per pixel: which value is white, and what the eye would see.

A scanner or a microscope often stores 12 bits in pixels of 16, and then the brightest value is
4095 and not 65535. Few files say so. What a file says counts; if it says nothing, an image of 16
bits that never goes above 4095 is taken for one of 12. Where nothing tells, there is no image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

BITS, PHOTOMETRIC, LARGEST, SAMPLE_FORMAT, S_LARGEST = 258, 262, 281, 339, 341  # tags of TIFF
TWELVE = 2**12 - 1
DECLARED = ("PPM", "JPEG2000")  # Pillow brings their values to all of the 16 bits
ADVICE = "save it in 8 bits, or in all of 16"


def to_8_bits(image: Image.Image, has_16_bits: bool = False) -> tuple[Image.Image, str | None]:
    """Bring an image to a mode that ``composite`` knows, and say what had to be assumed."""
    if image.mode.startswith("I"):
        return _grey(image)
    if image.mode == "F":
        raise ValueError(f"its pixels are fractions, and nothing says which is white; {ADVICE}")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    elif image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        image = image.convert("RGB")  # CMYK, YCbCr, HSV; of LAB Pillow says that it cannot
    # Of colours of 16 bits in the file, Pillow has kept the upper 8.
    if has_16_bits and image.format not in DECLARED and 0 < _brightest(image) < 16:
        raise ValueError(
            "its colours of 16 bits use the lowest 12 at most, of which Pillow keeps 4; " + ADVICE
        )
    return image, None


def _grey(image: Image.Image) -> tuple[Image.Image, str | None]:
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    wide = bool(tags) and image.mode == "I"  # 32 bits, or 16 with a sign
    if wide and tags.get(BITS) == (32,) and tags.get(SAMPLE_FORMAT, (1,)) == (1,):
        values = values.view(np.uint32)  # Pillow has them with a sign
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise ValueError(f"it has values below 0, and nothing says which is black; {ADVICE}")
    white, assumption = _white(image, tags, wide, high)
    if high > white:
        raise ValueError(f"it says that its brightest value is {white}, and has {high}; {ADVICE}")
    values = values.astype(np.uint64 if white > 65535 else np.uint32)
    if tags.get(PHOTOMETRIC) == 0:  # 0 is white; Pillow turns that round in 8 bits only
        values = white - values
    return Image.fromarray((values * 256 // (white + 1)).astype(np.uint8)), assumption


def _white(image: Image.Image, tags: Any, wide: bool, high: int) -> tuple[int, str | None]:
    bits = tags.get(BITS, (16,))[0]
    if bits < 16:
        return 2**bits - 1, None  # packed
    declared = next((tags[tag] for tag in (S_LARGEST, LARGEST) if tag in tags), None)
    if declared is not None:
        declared = declared[0] if isinstance(declared, tuple) else declared
    if wide:
        if declared is None or declared != declared or not 0 < declared < 2**32:
            kind = "32 bits" if bits == 32 else "16 bits with a sign"
            raise ValueError(
                f"its pixels are whole numbers of {kind}, and nothing says which is white; {ADVICE}"
            )
        return int(declared), None
    if image.format in DECLARED or max(high, declared or 0) > TWELVE or high == 0:
        return 65535, None
    if high < 256:
        raise ValueError(
            f"its 16 bits go to {high} only, and nothing says which value is white; {ADVICE}"
        )
    return TWELVE, "its 16 bits use the lowest 12 alone, so 4095 is taken for white"


def _brightest(image: Image.Image) -> int:
    colours = image.convert("RGB").getextrema()
    return max(int(high) for _, high in colours)  # type: ignore[misc]
