"""From a folder of pictures to a saved prompt, with the numbers that it has to be compared with."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from torch import Tensor

from clipnotes.atomic import remove_strays, write_atomically
from clipnotes.checkpoints import Clip
from clipnotes.data import few_shot
from clipnotes.folders import Skipped, encode_files, image_folder
from clipnotes.prompts import LinearProbe, NearestMean, PromptLearner, ZeroShot, evaluate, fit
from clipnotes.prompts.card import EMBEDDED, model_name, text_tower_digest
from clipnotes.prompts.layout import Position
from clipnotes.prompts.resume import digest
from clipnotes.prompts.storage import check_folder

PICTURE = "confusion.png"


@dataclass(frozen=True)
class Plan:
    """How to learn: what ``clipnotes learn`` is told.

    Attributes:
        shots: Pictures a class to learn from.
        seeds: Each draws other pictures and starts elsewhere; the first one's prompt is saved.
        template: The hand-written sentence of zero-shot. None: one that suits the model.
        n_ctx, init, position, per_class: As in ``PromptLearner``.
        epochs: None: as CoOp, by the number of shots.
    """

    shots: int = 16
    seeds: Sequence[int] = (0,)
    template: str | None = None
    n_ctx: int | None = None
    init: str | None = None
    position: Position = "end"
    per_class: bool = False
    epochs: int | None = None


@dataclass
class Report:
    """What came of it.

    Attributes:
        accuracies: Method -> a number for each seed.
        n_train, n_test: Pictures of the first seed.
        skipped: Files that could not be read.
        notes: What was done otherwise than asked.
    """

    accuracies: dict[str, list[float]] = field(default_factory=dict)
    n_train: int = 0
    n_test: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """A line a method: its name, the mean accuracy and, of several seeds, the deviation.

        Example:
            >>> Report({"zero-shot": [0.5], "learned": [0.75]}).lines()
            ['zero-shot   50.0 %', 'learned     75.0 %']
        """
        width = max(map(len, self.accuracies))
        found = []
        for name, values in self.accuracies.items():
            spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
            found.append(f"{name:{width}}  {100 * statistics.mean(values):5.1f}{spread} %")
        return found


@dataclass(frozen=True)
class _Pictures:
    """Features of one folder, with the class of each."""

    features: Tensor
    labels: list[int]


def learn(
    clip: Clip,
    folder: str | Path,
    out: str | Path,
    plan: Plan | None = None,
    *,
    test: str | Path | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> Report:
    """Learn a prompt from a folder with a sub-folder for each class, and save it.

    Of each class, ``shots`` pictures are drawn to learn from and all others are for the test. A
    class with too few gives one to the test and the rest to learning; a single picture is learnt
    from. With ``test``, another folder with the same classes, nothing is held back.

    Training can be killed: called again with the same pictures and plan, it goes on.

    Args:
        clip: The model.
        folder: The pictures.
        out: The folder for the prompt and ``confusion.png``.
        plan: How to learn.
        test: The pictures to test on, instead of those that are left over.
        force: Replace a prompt that is there.
        say: Is told what happens, a line each.
        progress: Show bars on stderr.

    Raises:
        ValueError: Folders, names or plan that do not fit; nothing has been written then.
        FloatingPointError: Training diverged.
        OSError: The system refuses to write.

    Example:
        >>> import clipnotes, tempfile
        >>> from clipnotes.data import load_emoji
        >>> top = Path(tempfile.mkdtemp())
        >>> for i, row in enumerate(load_emoji(style=["noto", "twemoji"], category="food-fruit")):
        ...     file = top / "in" / row["name"] / f"{i}.png"
        ...     file.parent.mkdir(parents=True, exist_ok=True)
        ...     row["image"].save(file)
        >>> report = learn(clipnotes.load(), top / "in", top / "out", Plan(shots=1, epochs=2))
        >>> list(report.accuracies)
        ['zero-shot', 'nearest mean', 'linear probe', 'learned']
    """
    plan = plan or Plan()
    out = check_folder(out, force)
    if (out / PICTURE).exists() and not force:
        raise ValueError(f"{out} already holds {PICTURE}; give another folder, or force")
    table = image_folder(folder)
    names = table.features["name"].names
    test_table = None if test is None else _same_classes(image_folder(test), names, test)
    learners = [_learner(clip, names, plan, seed) for seed in plan.seeds]  # names are checked
    template = plan.template or (
        "an emoji of a {}" if model_name(clip) == EMBEDDED else "a photo of a {}"
    )
    zero_shot = ZeroShot(clip, names, template)

    report = Report()
    say(f"reading {len(table)} files of {len(names)} classes")
    pictures = _encode(clip, table, report, progress)
    held_out = None if test_table is None else _encode(clip, test_table, report, progress)
    for name, i in zip(names, range(len(names)), strict=True):
        if i not in pictures.labels:
            raise ValueError(
                f"none of the files of {name!r} can be read: "
                + "; ".join(f"{s.path}: {s.reason}" for s in report.skipped[:3])
            )
    draws = [split(pictures.labels, plan.shots, seed, held_out is None) for seed in plan.seeds]
    if held_out is None and not draws[0][1]:
        raise ValueError(
            f"every class in {folder} has a single picture, so none is left to test on; add "
            "pictures, or give a folder to test on (--test)"
        )
    report.notes += _few(names, pictures.labels, plan.shots, held_out is None)

    for seed, learner, (train, rest) in zip(plan.seeds, learners, draws, strict=True):
        labels = torch.tensor(pictures.labels)
        given = pictures.features[train], labels[train]
        asked = (pictures.features[rest], labels[rest])
        if held_out is not None:
            asked = held_out.features, torch.tensor(held_out.labels)
        say(f"seed {seed}: learning from {len(train)} pictures, testing on {len(asked[1])}")
        key = text_tower_digest(clip.model), vars(plan), seed, names, given[1].tolist()
        out.mkdir(parents=True, exist_ok=True)
        checkpoint = out / f".training-{digest(*map(repr, key), given[0])}.safetensors"
        history = fit(
            learner, *given, epochs=plan.epochs, seed=seed, checkpoint=checkpoint, progress=progress
        )
        methods: dict[str, Any] = {
            "zero-shot": zero_shot,
            "nearest mean": NearestMean(clip, names, *given),
            "linear probe": LinearProbe(clip, names, *given),
            "learned": learner,
        }
        scores = {name: evaluate(method, *asked) for name, method in methods.items()}
        for name, score in scores.items():
            report.accuracies.setdefault(name, []).append(score.accuracy)
        if seed == plan.seeds[0]:
            report.n_train, report.n_test = len(train), len(asked[1])
            numbers = {name: score.accuracy for name, score in scores.items()}
            learner.save(out, shots=history.shots, seed=seed, scores=numbers, force=force)
            _draw(out / PICTURE, scores["learned"].confusion, names)
    for checkpoint in out.glob(".training-*.safetensors"):
        checkpoint.unlink(missing_ok=True)
    return report


def split(
    labels: Sequence[int], shots: int, seed: int, hold_out: bool
) -> tuple[list[int], list[int]]:
    """Draw the rows to learn from; the others are for the test.

    Args:
        labels: The class of each row.
        shots: Rows a class to learn from.
        seed: Another seed, another draw.
        hold_out: Leave at least one row of each class that has two.

    Returns:
        Rows to learn from and rows for the test, sorted.

    Raises:
        ValueError: Less than one shot.

    Example:
        >>> train, test = split([0, 0, 0, 1, 1, 2], shots=2, seed=0, hold_out=True)
        >>> len(train), [[0, 0, 0, 1, 1, 2][row] for row in test]
        (4, [0, 1])
    """
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    train: list[int] = []
    for label, own in rows.items():
        table = datasets.Dataset.from_dict({"row": own, "class": [str(label)] * len(own)})
        some = min(shots, max(1, len(own) - hold_out))
        train += few_shot(table, some, seed, label="class")["row"]
    left = set(range(len(labels))).difference(train)
    return sorted(train), sorted(left)


def _learner(clip: Clip, names: list[str], plan: Plan, seed: int) -> PromptLearner:
    return PromptLearner(
        clip, names, plan.n_ctx, plan.init, plan.position, plan.per_class, seed=seed
    )


def _same_classes(
    table: datasets.Dataset, names: list[str], folder: str | Path
) -> datasets.Dataset:
    theirs = table.features["name"].names
    if theirs != names:
        more, less = sorted(set(theirs) - set(names)), sorted(set(names) - set(theirs))
        raise ValueError(
            f"the classes in {folder} are others: {len(more)} too many {more[:3]}, {len(less)} "
            f"missing {less[:3]}; give a folder with the same sub-folders"
        )
    return table


def _encode(clip: Clip, table: datasets.Dataset, report: Report, progress: bool) -> _Pictures:
    unopened = table.cast_column("image", datasets.Image(decode=False))
    paths = [image["path"] for image in unopened["image"]]
    features, rows, skipped = encode_files(clip, paths, progress)
    report.skipped += skipped
    labels = list(table["name"])
    return _Pictures(features, [labels[row] for row in rows])


def _few(names: list[str], labels: list[int], shots: int, hold_out: bool) -> list[str]:
    counts = {name: labels.count(i) for i, name in enumerate(names)}
    few = {name: n for name, n in counts.items() if n < shots + hold_out}
    if not few:
        return []
    some = ", ".join(f"{name} ({n})" for name, n in list(few.items())[:5])
    more = f" and {len(few) - 5} more" if len(few) > 5 else ""
    what = "one of each is kept for the test, if it has two" if hold_out else "all are learnt from"
    return [f"too few pictures for {shots} shots: {some}{more}; {what}"]


def _draw(path: Path, matrix: Tensor, names: list[str]) -> None:
    import matplotlib.pyplot as plt

    from clipnotes import plots

    plots.style()
    figure: Any = plots.confusion(matrix, names).figure
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    remove_strays(path)
    write_atomically(path, content.getvalue())
