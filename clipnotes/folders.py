"""Folders of pictures: a sub-folder for each class, and the files in it."""

from __future__ import annotations

import re
from pathlib import Path

import datasets

SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


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
        >>> from PIL import Image
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


def _has_folders(folder: Path) -> bool:
    return any(inner.is_dir() for inner in folder.iterdir())
