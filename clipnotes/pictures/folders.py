"""Folders of images: a sub-folder for each class, and the files in it."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from clipnotes.classnames import written
from clipnotes.pictures.splits import check_no_splits, sub_folders

# What systems leave in folders.
LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir"}
LITTER |= {"$recycle.bin", "system volume information", "lost+found"}
SAVED = "prompt.safetensors"  # the name of the file that ``save`` of a learner writes


def class_files(folder: str | Path, nested: bool = False) -> tuple[list[str], list[list[Path]]]:
    """Find the classes of a folder, sorted by name, and the files of each; none is opened."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"no folder {path}; give one that has a sub-folder for each class")
    folders = _class_folders(path)
    files = {f: list_files(f) for f in folders}
    for file in (file for own in files.values() for file in own if file.name == SAVED):
        raise ValueError(
            f"{file.parent} is a prompt that was saved among the images, and no class; move it "
            f"out of {path}, or remove it"
        )
    if not nested:
        check_no_splits(path, files)
    advice = "make a sub-folder for each class, named as the class, and put its images there"
    if not folders:
        raise ValueError(f"{path} has no sub-folders; {advice}")
    empty = [f.name for f in folders if not files[f]]
    if len(empty) == len(folders):
        raise ValueError(f"no image in {path}; {advice}")
    if empty:
        raise ValueError(
            f"no image of {', '.join(map(repr, empty))} in {path}; put some there, or remove "
            "the folder"
        )
    if len(folders) == 1:
        (only,) = folders
        advice = f"; if its sub-folders are the classes, give {only}"
        raise ValueError(
            f"{path} has a single class, {only.name!r}; at least two are needed"
            + advice * bool(sub_folders(only, files[only]))
        )
    classes: dict[str, Path] = {}
    for f in folders:
        twin = classes.setdefault(_name(f), f)
        if twin != f:
            raise ValueError(
                f"the folders {written(twin.name, f.name)} and {written(f.name, twin.name)} in "
                f"{path} are both read as {_name(f)!r}; rename or join them"
            )
    names = sorted(classes)
    return names, [files[classes[name]] for name in names]


def list_files(folder: Path) -> list[Path]:
    """List every file below a folder, sorted, also through links, but not what systems leave."""

    def refuse(error: OSError) -> None:
        raise error

    below: list[Path] = []
    seen = {_identity(folder)}
    for top, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        inner = []
        # What is really here goes before what only a link leads to. Every folder is read once,
        # however many links lead to it.
        for name in sorted(folders, key=lambda name: (Path(top, name).is_symlink(), name)):
            identity = _identity(Path(top, name))
            if not _is_litter(name) and identity not in seen:
                seen.add(identity)
                inner.append(name)
        folders[:] = inner  # these, in this order, are where os.walk goes on
        paths = (Path(top, name) for name in files if not _is_litter(name))
        # A link that leads nowhere is kept: whoever reads the files reports it.
        below += [path for path in paths if path.is_file() or not path.exists()]
    return sorted(below)


def _class_folders(path: Path) -> list[Path]:
    folders: dict[tuple[int, int], Path] = {}
    above = {_identity(each) for each in (path, *path.resolve().parents)}
    for f in sorted(path.iterdir()):
        if _is_litter(f.name):
            continue
        if not f.exists():
            raise ValueError(f"the link {f} leads nowhere; correct it, or remove it")
        if not f.is_dir():
            continue
        identity = _identity(f)
        twin = folders.setdefault(identity, f)
        if twin != f or identity in above:
            target = twin if twin != f else "a folder that it lies in"
            raise ValueError(f"{f} is a link to {target}: the same images twice; remove it")
    return list(folders.values())


def _name(folder: Path) -> str:
    """Name a class after its folder, in Unicode's composed form, so that equal names are equal."""
    name = unicodedata.normalize("NFC", re.sub(r"[_\-\s]+", " ", folder.name).strip())
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in name)  # bytes that are no UTF-8
    if not name or not is_text:
        raise ValueError(
            f"the folder {folder.name!r} in {folder.parent} has a name that cannot be the name of "
            "a class, which is text (UTF-8); rename the folder"
        )
    return name


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name.lower() in LITTER
