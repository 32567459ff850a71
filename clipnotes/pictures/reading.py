"""Images in files, of any format that Pillow reads; and what cannot be read.

A photograph of 12 megapixels takes 200 MB while it is prepared, and becomes 0.6 MB that a model
takes. So each is prepared as soon as it is read, in a few threads, and bytes bound how many are
open at once.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from clipnotes.compat import shared_width
from clipnotes.pictures.batches import at_once, encode_pixels
from clipnotes.pictures.composite import composite
from clipnotes.pictures.depth import to_8_bits
from clipnotes.pictures.upright import turn, turn_of

T = TypeVar("T")

READING = 600 * 2**20  # bytes of all images that are being prepared; a larger one is alone
A_PIXEL = 18  # bytes, with the copies that are made on the way
THREADS = min(8, os.cpu_count() or 1)  # Pillow computes without Python's lock


class Preparing(Protocol):
    """The part of a ``Clip`` that reading needs: what makes pixels, and what encodes them."""

    model: Any

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """Make pixels of images, (n, 3, S, S)."""


@dataclass(frozen=True)
class Skipped:
    """A file that is not an image, or one that cannot be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class Read(Generic[T]):
    """What was made of a file, or None; and why there is nothing, or what had to be assumed."""

    made: T | None
    remark: str | None


@dataclass(frozen=True, eq=False)
class Files(Sequence[Image.Image]):
    """Images in files, each opened whenever it is asked for."""

    paths: list[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: Any) -> Any:
        try:
            return read_picture(self.paths[i])
        except ValueError as error:
            raise ValueError(f"{self.paths[i]}: {error}") from error

    def pixels(self, clip: Preparing) -> Iterator[Tensor]:
        """Prepare the images in a few threads: (1, 3, S, S) each, in order."""
        reading = each(self.paths, lambda image: clip.preprocess([image]))
        for path, read in zip(self.paths, reading, strict=True):
            if read.made is None:
                raise ValueError(f"{path}: {read.remark}")
            yield read.made


def read_picture(path: str | Path) -> Image.Image:
    """Open an image, upright, as RGB on white; an error's message is the reason alone."""
    read = _finish(_open(path), lambda image: image)
    if read.made is None:
        raise ValueError(read.remark)
    return read.made


def each(paths: Iterable[str], make: Callable[[Image.Image], T]) -> Iterator[Read[T]]:
    """Read files in a few threads, make something small of each, and give it in their order."""
    # The threads work ahead as far as READING allows. A file that cannot be read stops nothing.
    waiting: deque[tuple[Future[Read[T]], int]] = deque()
    held = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for path in paths:
            # Only the head of the file is read here, which says how large the image will be.
            opened = _open(path)
            size = 0 if isinstance(opened, Read) else opened.width * opened.height * A_PIXEL
            while waiting and (held + size > READING or len(waiting) > 2 * THREADS):
                future, done = waiting.popleft()
                yield future.result()
                held -= done
            future = pool.submit(_finish, opened, make)
            waiting.append((future, size))
            held += size
        while waiting:
            yield waiting.popleft()[0].result()


def encode_files(
    clip: Preparing,
    paths: Sequence[str],
    progress: bool = False,
    encode: Callable[[Tensor], Tensor] | None = None,  # (n, 3, S, S) -> (n, ...), not features
    note: Callable[[str], None] = lambda line: None,
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Encode the images that can be read: (n, P), their n rows in ``paths``, and the rest."""
    from tqdm import tqdm

    parts: list[Tensor] = []
    rows: list[int] = []
    skipped: list[Skipped] = []
    assumed: dict[str, list[str]] = {}
    waiting: list[Tensor] = []

    def flush() -> None:
        if waiting:
            pixels = torch.cat(waiting)
            waiting.clear()
            made = encode_pixels(clip.model, [pixels]) if encode is None else encode(pixels)
            parts.append(made.float())

    reading = each(paths, lambda image: clip.preprocess([image]))
    bar = tqdm(reading, "images", len(paths), disable=not progress, leave=False)
    for i, (path, read) in enumerate(zip(paths, bar, strict=True)):
        if read.made is None:
            skipped.append(Skipped(str(path), str(read.remark)))
            continue
        if read.remark:
            assumed.setdefault(read.remark, []).append(str(path))
        rows.append(i)
        waiting.append(read.made)
        if len(waiting) >= at_once(clip.model, read.made.shape[-1]):
            flush()
    flush()
    for assumption, files in assumed.items():
        more = f"; so with {len(files) - 1} more" if files[1:] else ""
        note(f"{files[0]}: {assumption}{more}")
    if not parts:
        return torch.zeros(0, shared_width(clip.model)), rows, skipped
    return torch.cat(parts), rows, skipped


def _open(path: str | Path) -> Image.Image | Read[Any]:
    """Read the head of a file. Not in a thread: they all share Python's filters of warnings."""
    try:
        with warnings.catch_warnings():
            # A very large image is slow but no attack; Pillow refuses still larger ones itself.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            try:
                return Image.open(path)
            except UnidentifiedImageError:
                return _open_heif(path)
    except UnidentifiedImageError:
        return Read(None, "not an image in a format that Pillow reads")
    except Exception as error:  # decoders raise anything on a damaged file
        return Read(None, _reason(error))


def _open_heif(path: str | Path) -> Image.Image:
    """Open the HEIC files that phones make, for which Pillow needs another package."""
    with open(path, "rb") as file:
        head = file.read(64)
    kinds = head[8:12] + head[16:]  # the kind, and those that it is compatible with
    if head[4:8] != b"ftyp":
        raise UnidentifiedImageError
    if b"avif" in kinds or b"avis" in kinds:
        raise ValueError("an AVIF image, which this Pillow cannot read: pip install -U pillow")
    if not any(kind in kinds for kind in (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"heim")):
        raise UnidentifiedImageError
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ValueError(
            "a HEIC image, as iPhones take them; it is read once pillow-heif is there: "
            "pip install pillow-heif"
        ) from None
    register_heif_opener()
    return Image.open(path)


def _finish(opened: Image.Image | Read[Any], make: Callable[[Image.Image], T]) -> Read[T]:
    """Decode an image and make something of it; whatever goes wrong becomes a reason."""
    if isinstance(opened, Read):
        return opened
    try:
        with opened:
            # Only the instructions for the decoder say it, and they are gone after loading.
            deep = any(";16" in str(tile) for tile in getattr(opened, "tile", ()))
            width, height = opened.size
            if max(width, height) > 100 * min(width, height):
                raise ValueError(f"{width} x {height} pixels: too narrow to see")
            method, damaged = turn_of(opened)
            image, assumed = to_8_bits(opened, deep)
            image = composite(turn(image, method))
        opened.close()  # frees its memory
        return Read(make(image), "; ".join(filter(None, (damaged, assumed))) or None)
    except Exception as error:
        return Read(None, _reason(error))


def _reason(error: Exception) -> str:
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(message).split("\n", 1)[0]
