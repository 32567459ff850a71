"""From a folder of pictures to a saved prompt, with the numbers that it has to be compared with."""

from __future__ import annotations

import io
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.files import check_writable, remove_strays, write_atomically
from clipnotes.pictures.reading import Skipped
from clipnotes.pictures.shots import Folder
from clipnotes.prompts import LinearProbe, NearestMean, ZeroShot, evaluate
from clipnotes.prompts.saved.identity import text_tower_digest
from clipnotes.prompts.saved.storage import check_folder
from clipnotes.prompts.training.resume import digest
from clipnotes.published import Plan, doubts, make, sentence, train

PICTURE = "confusion.png"
MARGIN = 1_000_000  # bytes, for the picture and the card


@dataclass
class Report:
    """What came of it.

    Attributes:
        accuracies: Method -> a number for each seed.
        n_train, n_test: Pictures of the first seed.
        skipped: Files that could not be read.
        notes: What was done otherwise than asked, and what to doubt.
        recipe: What the first seed's prompt was learned with.
    """

    accuracies: dict[str, list[float]] = field(default_factory=dict)
    n_train: int = 0
    n_test: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A line a method: its name, the mean accuracy and, of several seeds, the deviation.

        Example:
            >>> Report({"zero-shot": [0.5], "learned": [0.75]}).lines()
            ['zero-shot   50.0 %', 'learned     75.0 %']
        """
        width = max(map(len, self.accuracies))
        return [f"{name:{width}}  {percent(values)}" for name, values in self.accuracies.items()]


def percent(values: Sequence[float]) -> str:
    """Write accuracies as their mean and, of several, the standard deviation.

    Example:
        >>> percent([0.5]), percent([0.5, 0.75])
        (' 50.0 %', ' 62.5 ± 17.7 %')
    """
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):5.1f}{spread} %"


def learn(
    clip: Clip,
    folder: str | Path,
    out: str | Path,
    plan: Plan | None = None,
    *,
    test: str | Path | None = None,
    nested: bool = False,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Report], None] = lambda report: None,
    progress: bool = False,
) -> Report:
    """Learn from a folder with a sub-folder for each class, by the plan's method, and save it.

    Of each class, ``shots`` pictures are drawn to learn from and all others are for the test. A
    class with too few gives one to the test and the rest to learning; a single picture is learnt
    from. With ``test``, another folder with the same classes, nothing is held back.

    Training can be killed: called again with the same pictures and plan, it goes on.

    Args:
        clip: The model.
        folder: The pictures.
        out: The folder for the prompt and ``confusion.png``; not among the pictures.
        plan: How to learn.
        test: The pictures to test on, instead of those that are left over.
        nested: Sub-folders are classes even where they look like parts of a data set.
        force: Replace a prompt that is there.
        say: Is told what happens, a line each.
        show: Is given the report as soon as it has all numbers. What can fail afterwards takes
            them from nobody. The figure is drawn last, and if it cannot be, that is a note.
        progress: Show bars on stderr.

    Raises:
        ValueError: Folders, names or plan that do not fit, or a method that the model cannot carry;
            nothing has been written then.
        FloatingPointError: Training diverged.
        OSError: The system refuses to write. Whether it does is tried before anything is read.

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
    for pictures in (folder, test):
        if pictures is not None:
            check_outside(out, pictures)
    opened = Folder(folder, test, nested)
    names = opened.names
    learners = [make(clip, names, plan, seed) for seed in plan.seeds]  # everything is checked
    zero_shot = ZeroShot(clip, names, sentence(clip, plan.template))
    # The prompt and its checkpoints: what is learned, momentum, and a copy while it is replaced.
    check_writable(out, MARGIN + 4 * sum(p.nbytes for p in learners[0].parameters()))

    pool = opened.read(clip, say, progress)
    notes = [*pool.notes, *pool.few(plan.shots), *doubts(clip, plan)]
    report = Report(skipped=pool.skipped, notes=notes)
    for seed, untrained in zip(plan.seeds, learners, strict=True):
        given, asked = pool.draw(plan.shots, seed)
        say(f"seed {seed}: learning from {len(given)} pictures, testing on {len(asked)}")
        key = text_tower_digest(clip.model), vars(plan), seed, names, given.labels.tolist()
        out.mkdir(parents=True, exist_ok=True)
        checkpoint = out / f".training-{digest(*map(repr, key), given.features)}.safetensors"
        trained = train(untrained, given, plan, seed, checkpoint=checkpoint, progress=progress)
        methods: dict[str, Any] = {
            "zero-shot": zero_shot,
            "nearest mean": NearestMean(clip, names, given.features, given.labels),
            "linear probe": LinearProbe(clip, names, given.features, given.labels),
            "learned": trained.learner,
        }
        scores = {
            name: evaluate(method, asked.suited(method), asked.labels)
            for name, method in methods.items()
        }
        for name, score in scores.items():
            report.accuracies.setdefault(name, []).append(score.accuracy)
        if seed == plan.seeds[0]:
            report.n_train, report.n_test = len(given), len(asked)
            report.recipe = trained.recipe
            first = scores["learned"].confusion
            save = partial(
                trained.learner.save,
                out,
                shots=trained.shots,
                seed=seed,
                scores={name: score.accuracy for name, score in scores.items()},
                recipe=trained.recipe,
            )
            try:
                save(force=force)
                saved = True
            except OSError as error:  # the numbers of all seeds come first
                say(f"not saved, and tried again at the end: {error}")
                saved = False
    show(report)
    if not saved:
        save(force=True)  # what may be there is our own
    report.notes += _draw(out / PICTURE, first, names)
    for checkpoint in out.glob(".training-*.safetensors"):
        checkpoint.unlink(missing_ok=True)
    return report


def check_outside(out: Path, pictures: str | Path) -> None:
    """Raise if a folder lies among pictures, where the next run would take it for a class.

    Args:
        out: The folder; it need not be there.
        pictures: Another one, with a sub-folder for each class. Links are followed.

    Raises:
        ValueError: It does, or is the same.

    Example:
        >>> check_outside(Path("pictures/prompt"), "pictures")
        Traceback (most recent call last):
        ValueError: pictures/prompt lies among the pictures in pictures, and the next run would...
    """
    top = Path(pictures).expanduser()
    inner = [path for path in top.iterdir() if path.is_dir()] if top.is_dir() else []
    if any(out.resolve().is_relative_to(path.resolve()) for path in (top, *inner)):
        beside = top.absolute().parent / "prompt"
        raise ValueError(
            f"{out} lies among the pictures in {top}, and the next run would take it for a class; "
            f"give a folder outside of them, for instance {beside}"
        )


def _draw(path: Path, matrix: Tensor, names: list[str]) -> list[str]:
    """Draw what is taken for what; return what is to be said about it."""
    try:
        import matplotlib.pyplot as plt

        from clipnotes import plots
        from clipnotes.plots.fonts import lacking

        plots.style()
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one for each letter without a glyph
            figure: Any = plots.confusion(matrix, names).figure
            figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
        plt.close(figure)
        remove_strays(path)
        write_atomically(path, content.getvalue())
        missing = lacking(names)
        return [f"{PICTURE}: {missing}"] if missing else []
    except Exception as error:  # whatever a font or a disk makes of it: the prompt is saved
        return [f"{path} could not be drawn: {str(error) or type(error).__name__}"]
