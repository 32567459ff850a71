"""Folders of pictures: a sub-folder for each class, and the files in it."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import datasets

from clipnotes.classnames import written
from clipnotes.pictures.splits import check_no_splits, sub_folders

# What systems leave in folders.
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}
LITTER |= {"$recycle.bin", "system volume information", "lost+found"}
SAVED = "prompt.safetensors"  # what ``save`` of a learner writes


def image_folder(folder: str | Path, nested: bool = False) -> datasets.Dataset:
    """List the pictures of a folder that has a sub-folder for each class.

    The class is called as its folder, with spaces for ``_`` and ``-``, in Unicode's composed form
    (NFC). Every file in it counts, at any depth and through links; what begins with a dot does not,
    nor what systems leave behind, such as ``Thumbs.db``. No picture is opened here.

    Args:
        folder: Has at least two sub-folders with files.
        nested: Take the sub-folders for classes even where they look like parts of a data set.

    Returns:
        A ``datasets.Dataset``: ``image`` (a path, opened when it is asked for) and ``name``
        (ClassLabel).

    Raises:
        ValueError: No folder; no class or a single one; a class without a file; two folders with
            one name, or one folder with two; a name that is no text; a saved prompt among the
            pictures; folders that look like parts of a data set, such as train and test, see
            ``class_files``.

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
    names, files = class_files(folder, nested)
    rows = [(str(file), i) for i, own in enumerate(files) for file in own]
    for file, _ in rows:
        if not _is_text(file):
            raise ValueError(f"{file!r} is no valid text, which a data set needs; rename the file")
    label = datasets.ClassLabel(names=names)
    return datasets.Dataset.from_dict(
        {"image": [file for file, _ in rows], "name": [i for _, i in rows]},
        features=datasets.Features({"image": datasets.Image(), "name": label}),
    )


def class_files(folder: str | Path, nested: bool = False) -> tuple[list[str], list[list[Path]]]:
    """Find the classes of a folder, sorted by name, and the files of each.

    Unless ``nested``, folders that are parts of a data set are refused. They are taken for such
    if two of them hold two sub-folders of the same names, or if the names of two have different
    words for a part in them (train, val, test, ...) and one of these has sub-folders.

    Args:
        folder: As for ``image_folder``.
        nested: As for ``image_folder``.

    Returns:
        Names, and a list of files for each. Also a link that leads nowhere is a file: nobody can
        read it, and so it is listed with what was skipped.

    Raises:
        ValueError: As ``image_folder``.

    Example:
        >>> import tempfile
        >>> top = Path(tempfile.mkdtemp())
        >>> for name in ("red_fox/1.png", "tulip/2.png", "tulip/Thumbs.db"):
        ...     (top / name).parent.mkdir(exist_ok=True)
        ...     (top / name).touch()
        >>> names, files = class_files(top)
        >>> names, [[file.name for file in own] for own in files]
        (['red fox', 'tulip'], [['1.png'], ['2.png']])
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"no folder {path}; give one that has a sub-folder for each class")
    found = _class_folders(path)
    files = {f: list_files(f) for f in found}
    for file in (file for own in files.values() for file in own if file.name == SAVED):
        raise ValueError(
            f"{file.parent} is a prompt that was saved among the pictures, and no class; move it "
            f"out of {path}, or remove it"
        )
    if not nested:
        check_no_splits(path, files)
    advice = "make a sub-folder for each class, named as the class, and put its pictures there"
    if not found:
        raise ValueError(f"{path} has no sub-folders; {advice}")
    empty = [f.name for f in found if not files[f]]
    if len(empty) == len(found):
        raise ValueError(f"no picture in {path}; {advice}")
    if empty:
        raise ValueError(
            f"no picture of {', '.join(map(repr, empty))} in {path}; put some there, or remove "
            "the folder"
        )
    if len(found) == 1:
        inner = f"; if its sub-folders are the classes, give {found[0]}"
        raise ValueError(
            f"{path} has a single class, {found[0].name!r}; at least two are needed"
            + inner * bool(sub_folders(found[0], files[found[0]]))
        )
    classes: dict[str, Path] = {}
    for f in found:
        twin = classes.setdefault(_name(f), f)
        if twin != f:
            raise ValueError(
                f"the folders {written(twin.name, f.name)} and {written(f.name, twin.name)} in "
                f"{path} are both read as {_name(f)!r}; rename or join them"
            )
    names = sorted(classes)
    return names, [files[classes[name]] for name in names]


def list_files(folder: Path) -> list[Path]:
    """Every file below a folder, sorted, without what begins with a dot and what systems leave.

    Links are followed, and every folder is read once, however many links lead to it. A link that
    leads nowhere is listed too.

    Raises:
        OSError: A folder cannot be read.

    Example:
        >>> from clipnotes.checkpoints import EMOJI_CLIP
        >>> EMOJI_CLIP / "config.json" in list_files(EMOJI_CLIP)
        True
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    seen = {_identity(folder)}
    for top, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        inner = []
        # What is really here goes before what only a link leads to.
        for name in sorted(folders, key=lambda name: (Path(top, name).is_symlink(), name)):
            identity = _identity(Path(top, name))
            if not _is_litter(name) and identity not in seen:
                seen.add(identity)
                inner.append(name)
        folders[:] = inner  # these, in this order, are where os.walk goes on
        paths = (Path(top, name) for name in files if not _is_litter(name))
        found += [path for path in paths if path.is_file() or not path.exists()]
    return sorted(found)


def _class_folders(path: Path) -> list[Path]:
    found: dict[tuple[int, int], Path] = {}
    above = {_identity(each) for each in (path, *path.resolve().parents)}
    for f in sorted(path.iterdir()):
        if _is_litter(f.name):
            continue
        if not f.exists():
            raise ValueError(f"the link {f} leads nowhere; mend it, or remove it")
        if not f.is_dir():
            continue
        identity = _identity(f)
        twin = found.setdefault(identity, f)
        if twin != f or identity in above:
            other = twin if twin != f else "a folder that it lies in"
            raise ValueError(f"{f} is a link to {other}: the same pictures twice; remove it")
    return list(found.values())


def _name(folder: Path) -> str:
    name = unicodedata.normalize("NFC", re.sub(r"[_\-\s]+", " ", folder.name).strip())
    if not name or not _is_text(name):
        raise ValueError(
            f"the folder {folder.name!r} in {folder.parent} has a name that cannot be the name of "
            "a class, which is text (UTF-8); rename the folder"
        )
    return name


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)
