"""Pictures in folders, one a class, in any format that Pillow reads; and what cannot be read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.data import composite

AT_ONCE = 16  # pictures in memory; a photograph can take 50 MB
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class Skipped:
    """A file that is no picture, or none that can be read."""

    path: str
    reason: str


def image_folder(folder: str | Path) -> datasets.Dataset:
    """List the pictures of a folder that has a sub-folder for each class.

    The class is called as its folder, with spaces for ``_`` and ``-``. Every file in it counts, at
    any depth; what begins with a dot does not. No picture is opened here.

    Args:
        folder: Has at least two sub-folders with files.

    Returns:
        A ``datasets.Dataset``: ``image`` (a path, opened when it is asked for) and ``name``
        (ClassLabel).

    Raises:
        ValueError: No folder; no class or a single one; a class without a file; two folders with
            one name; folders called train and test instead of classes.

    Example:
        >>> import tempfile
        >>> for name in ("red_fox", "tulip"):
        ...     path = Path(tempfile.gettempdir(), "clipnotes-example", name, "1.png")
        ...     path.parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new("RGB", (8, 8)).save(path)
        >>> image_folder(path.parent.parent).features["name"].names
        ['red fox', 'tulip']
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"no folder {path}; give one that has a sub-folder for each class")
    found = sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))
    advice = "make a sub-folder for each class, named as the class, and put its pictures there"
    if not found:
        raise ValueError(f"{path} has no sub-folders; {advice}")
    if {f.name.lower() for f in found} <= SPLITS and any(_has_folders(f) for f in found):
        raise ValueError(
            f"{path} is split into {', '.join(f.name for f in found)}; give the folder to learn "
            f"from, for instance {found[-1]}, and the one to test on apart (--test)"
        )
    files = {f: list_files(f) for f in found}
    empty = [f.name for f in found if not files[f]]
    if len(empty) == len(found):
        raise ValueError(f"no picture in {path}; {advice}")
    if empty:
        raise ValueError(
            f"no picture of {', '.join(map(repr, empty))} in {path}; put some there, or remove "
            "the folder"
        )
    if len(found) == 1:
        raise ValueError(f"{path} has a single class, {found[0].name!r}; at least two are needed")
    names = [re.sub(r"[_\-\s]+", " ", f.name).strip() for f in found]
    for i, name in enumerate(names):
        if name in names[:i]:
            twin = found[names.index(name)].name
            raise ValueError(
                f"the folders {twin!r} and {found[i].name!r} in {path} are both read as {name!r}; "
                "rename or join them"
            )
    label = datasets.ClassLabel(names=names)
    rows = [(str(file), i) for i, f in enumerate(found) for file in files[f]]
    return datasets.Dataset.from_dict(
        {"image": [file for file, _ in rows], "name": [i for _, i in rows]},
        features=datasets.Features({"image": datasets.Image(), "name": label}),
    )


def list_files(folder: Path) -> list[Path]:
    """Every file below a folder, sorted, without what begins with a dot.

    Example:
        >>> from clipnotes.checkpoints import EMOJI_CLIP
        >>> EMOJI_CLIP / "config.json" in list_files(EMOJI_CLIP)
        True
    """
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


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


def _has_folders(folder: Path) -> bool:
    return any(inner.is_dir() for inner in folder.iterdir())
