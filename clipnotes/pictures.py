"""Pictures in files, of any format that Pillow reads; and what cannot be read."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.data import composite

AT_ONCE = 16  # pictures in memory; a photograph can take 50 MB


@dataclass(frozen=True)
class Skipped:
    """A file that is no picture, or none that can be read."""

    path: str
    reason: str


def read_picture(path: str | Path) -> Image.Image:
    """Open a picture, the right way up, as RGB on white.

    A phone turns no pixels, it notes how the picture has to be turned (EXIF); this is done here. Of
    16 bits a pixel the upper 8 are kept; of an animation, the first frame.

    Raises:
        ValueError: It cannot be read. The message is the reason alone.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/grey.png"
        >>> Image.new("I;16", (8, 8), 65535).save(path)
        >>> read_picture(path).getpixel((0, 0))
        (255, 255, 255)
    """
    try:
        with warnings.catch_warnings():
            # A very large picture is slow, no attack; of a still larger one Pillow makes an error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                opened.load()
                image = _to_8_bits(ImageOps.exif_transpose(opened))
        if max(image.size) > 100 * min(image.size):
            raise ValueError(f"{image.size[0]} x {image.size[1]} pixels: too narrow to see")
        return composite(image)
    except UnidentifiedImageError:
        raise ValueError("no picture in a format that Pillow reads") from None
    except Exception as error:  # decoders raise anything on a damaged file
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(said.split("\n", 1)[0]) from error


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Bring modes that ``composite`` does not know to one that it does."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("more than 16 bits a pixel")
        return Image.fromarray((values // 256).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are fractions, and nothing says which is white")
    if image.mode in ("La", "RGBa"):
        return image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        return image
    return image.convert("RGB")  # CMYK, YCbCr, HSV; of LAB Pillow says that it cannot


def encode_files(
    clip: Clip,
    paths: Sequence[str],
    progress: bool = False,
    encode: Callable[[Sequence[Image.Image]], Tensor] | None = None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Encode the pictures that can be read; each is opened once, few at a time.

    Args:
        clip: The model.
        paths: Files.
        progress: Show a bar on stderr.
        encode: What is made of n pictures: (n, ...). None: their features.

    Returns:
        (n, P) features of unit length; the n rows of ``paths`` that they are of; the rest.

    Example:
        >>> import clipnotes, tempfile
        >>> path = tempfile.mkdtemp() + "/blue.png"
        >>> Image.new("RGB", (90, 60), "blue").save(path)
        >>> features, rows, skipped = encode_files(clipnotes.load(), ["nowhere.png", path])
        >>> features.shape, rows, skipped[0].reason
        (torch.Size([1, 128]), [1], 'No such file or directory')
    """
    from tqdm import tqdm

    parts: list[Tensor] = []
    rows: list[int] = []
    skipped: list[Skipped] = []
    waiting: list[Image.Image] = []

    def flush() -> None:
        if waiting:
            parts.append((encode or clip.encode_image)(waiting).float())
            waiting.clear()

    for i, path in enumerate(tqdm(paths, "pictures", disable=not progress, leave=False)):
        try:
            waiting.append(read_picture(path))
        except ValueError as error:
            skipped.append(Skipped(str(path), str(error)))
            continue
        rows.append(i)
        if len(waiting) == AT_ONCE:
            flush()
    flush()
    width = clip.model.config.projection_dim
    return torch.cat(parts) if parts else torch.zeros(0, width), rows, skipped
