"""Folders that are parts of a data set, train and test, and are given as if they were classes."""

from __future__ import annotations

import itertools
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

# Words that name a part of a data set, not a class.
SPLITS = {"train", "training", "trainset", "trainval", "val", "valid", "validation", "valset"}
SPLITS |= {"dev", "devset", "eval", "evaluation", "test", "testing", "testset", "holdout"}


def check_no_splits(path: Path, files: Mapping[Path, Sequence[Path]]) -> None:
    """Raise if folders, given with the files below them, are the parts of a data set."""
    inner = {f: sub_folders(f, own) for f, own in files.items()}
    marked = {f: word for f in files if (word := _split_word(f.name))}
    # Two folders are parts of a data set if they hold two sub-folders of the same names.
    parts, shared = [], set[str]()
    for one, two in itertools.combinations(sorted(files), 2):
        both = inner[one] & inner[two]
        if len(both) > 1:
            parts += [one, two]
            shared |= both
    # So are folders whose names have different words for a part, if one of them has sub-folders.
    kinds = {_rank(word) and word for word in marked.values()}  # all for learning are one kind
    if len(kinds) > 1 and any(inner[f] for f in marked):
        parts += marked
    parts = sorted(set(parts))
    if not parts:
        return
    nested = "say --nested (in Python nested=True)"
    words = {word for name in shared if (word := _split_word(name))}
    if len(words) > 1:
        raise ValueError(
            f"every class in {path} is split by itself, into {_some(sorted(shared))}; make two "
            f"folders that hold the classes, and give one of them to learn from and the other to "
            f"test on (--test); to learn from all of it, {nested}"
        )
    what = "are called as the parts of a data set are, and not as classes"
    if shared:
        what = f"hold the same, {_some(sorted(shared))}, as parts of a data set do, not classes"
    first, *rest = sorted(parts, key=lambda f: (_rank(marked.get(f)), -len(files[f]), f))
    tests = [f for f in rest if inner[f] & inner[first]]
    tests.sort(key=lambda f: not marked.get(f, "").startswith("test"))
    command = ["clipnotes", "learn", str(first)]
    command += ["--test", str(tests[0])] if tests else []
    raise ValueError(
        f"{_some([f.name for f in parts])} in {path} {what}; give the one to learn from, and what "
        f"to test on apart: {shlex.join(command)} --out prompt; if these are the classes all the "
        f"same, {nested}"
    )


def _split_word(name: str) -> str | None:
    """Find the word for a part of a data set in a name, as in ``seg_train`` or ``TestImages``."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return next((word.lower() for word in words if word.lower() in SPLITS), None)


def _rank(word: str | None) -> int:
    """Order by what is best to learn from: words for that, no word, words for a test."""
    if word is None:
        return 1
    return 0 if word.startswith("train") else 2


def _some(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names[:3]]
    if len(names) > 3:
        return ", ".join(quoted) + f" and {len(names) - 3} more"
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def sub_folders(folder: Path, files: Sequence[Path]) -> set[str]:
    """Name the sub-folders of a folder that have files in them, as names are compared."""
    parts = [file.relative_to(folder).parts for file in files]
    return {unicodedata.normalize("NFC", part[0]).lower() for part in parts if len(part) > 1}
