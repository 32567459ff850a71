"""The images of a folder: read once, and for each seed drawn anew, some to learn from."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.pictures.folders import class_files
from clipnotes.pictures.reading import Files, Skipped, encode_files
from clipnotes.pictures.shots import draw
from clipnotes.prompts.classifier import Classifier


@dataclass(frozen=True, eq=False)
class Pictures(Files):
    """Images in files, with their features and classes."""

    features: Tensor  # (n, P) of unit length, as the model without a prompt encodes them
    labels: Tensor  # (n,) int64

    def take(self, rows: Sequence[int]) -> Pictures:
        """Make a smaller one, of these rows."""
        chosen = list(rows)
        return Pictures([self.paths[i] for i in chosen], self.features[chosen], self.labels[chosen])

    def suited(self, classifier: Classifier) -> Pictures | Tensor:
        """Give the features; to a classifier that encodes images itself, the images."""
        return self if classifier.takes_pixels else self.features


@dataclass(frozen=True, eq=False)
class Pool:
    """What a folder holds and could be read."""

    names: list[str]
    pictures: Pictures  # to learn from; also to test on, unless there are others for it
    others: Pictures | None  # those of a folder of its own, to test on
    skipped: list[Skipped]
    notes: list[str]  # what had to be assumed

    def draw(self, shots: int, seed: int) -> tuple[Pictures, Pictures]:
        """Draw ``shots`` images per class to learn from; those to test on come second."""
        train, rest = split(self.pictures.labels.tolist(), shots, seed, self.others is None)
        test = self.pictures.take(rest) if self.others is None else self.others
        return self.pictures.take(train), test

    def few(self, shots: int) -> list[str]:
        """Say which classes have too few images, and what is done about it."""
        hold_out, labels = self.others is None, self.pictures.labels.tolist()
        counts = {name: labels.count(i) for i, name in enumerate(self.names)}
        few = {name: n for name, n in counts.items() if n < shots + hold_out}
        if not few:
            return []
        some = ", ".join(f"{name} ({n})" for name, n in list(few.items())[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        kept = "one of each is kept for the test, if it has two"
        what = kept if hold_out else "all are learnt from"
        return [f"too few images for {shots} shots: {some}{more}; {what}"]


class Folder:
    """A folder with a sub-folder for each class, looked at but not read."""

    def __init__(
        self, folder: str | Path, test: str | Path | None = None, nested: bool = False
    ) -> None:
        self._folder = folder
        self.names, self._files = class_files(folder, nested)
        self._test = test
        self._test_files: list[list[Path]] | None = None
        if test is not None:
            theirs, self._test_files = class_files(test, nested)
            if theirs != self.names:
                more = sorted(set(theirs) - set(self.names))
                less = sorted(set(self.names) - set(theirs))
                raise ValueError(
                    f"the classes in {test} are not those in {folder}: {len(more)} too many "
                    f"{more[:3]}, {len(less)} missing {less[:3]}; give a folder with the same "
                    "sub-folders"
                )

    def read(
        self,
        clip: Clip,
        say: Callable[[str], None] = lambda line: None,
        progress: bool = False,
    ) -> Pool:
        """Open and encode every image."""
        n = sum(map(len, self._files + (self._test_files or [])))
        of = f"{n} files of {len(self.names)} classes"
        say(f"reading {of}")
        started = time.monotonic()
        notes: list[str] = []
        pictures, skipped = self._encode(clip, self._files, progress, notes)
        others = None
        if self._test_files is not None:
            others, more = self._encode(clip, self._test_files, progress, notes)
            skipped += more
        rate = n / max(time.monotonic() - started, 1e-3)
        say(f"read {of}: {rate:.{0 if rate >= 10 else 1}f} images per second")
        counts = torch.bincount(pictures.labels, minlength=len(self.names)).tolist()
        if others is None and max(counts) == 1:
            raise ValueError(
                f"every class in {self._folder} has a single image, so none is left to test on; "
                "add images, or give a folder to test on (--test)"
            )
        return Pool(self.names, pictures, others, skipped, notes)

    def _encode(
        self, clip: Clip, files: list[list[Path]], progress: bool, notes: list[str]
    ) -> tuple[Pictures, list[Skipped]]:
        paths = [str(file) for own in files for file in own]
        features, rows, skipped = encode_files(clip, paths, progress, note=notes.append)
        labels = torch.tensor([i for i, own in enumerate(files) for _ in own])[rows]
        for i in sorted(set(range(len(files))) - set(labels.tolist())):
            first = [str(file) for file in files[i][:3]]
            said = [f"{one.path}: {one.reason}" for one in skipped if one.path in first]
            where = self._folder if files is self._files else self._test
            raise ValueError(
                f"none of the files of {self.names[i]!r} in {where} can be read: {'; '.join(said)}"
            )
        return Pictures([paths[row] for row in rows], features, labels), skipped


def split(
    labels: Sequence[int], shots: int, seed: int, hold_out: bool
) -> tuple[list[int], list[int]]:
    """Draw the rows to learn from; the others are for the test."""
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    train: list[int] = []
    for label, own in rows.items():
        train += draw(own, min(shots, max(1, len(own) - hold_out)), seed, label)
    left = set(range(len(labels))).difference(train)
    return sorted(train), sorted(left)
