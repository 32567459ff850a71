"""Several methods on the pictures of one folder, beside what needs no training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clipnotes.checkpoints import Clip
from clipnotes.learn import percent
from clipnotes.pictures.reading import Skipped
from clipnotes.pictures.shots import Folder, Pictures
from clipnotes.prompts import LinearProbe, NearestMean, ZeroShot, evaluate
from clipnotes.prompts.saved.card import model_name
from clipnotes.published import METHODS, Plan, doubts, make, sentence, train


@dataclass
class Row:
    """How a method did.

    Attributes:
        accuracies, seconds: A number for each seed; the seconds are those of training alone.
        n_parameters: Numbers that it takes from the pictures.
        recipe: What it was trained with, of the first seed; empty if it is not trained.
    """

    accuracies: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    n_parameters: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)

    def add(self, accuracy: float, seconds: float, n_parameters: int) -> None:
        """Add what one seed gave."""
        self.accuracies.append(accuracy)
        self.seconds.append(seconds)
        self.n_parameters = n_parameters


@dataclass
class Comparison:
    """What came of it.

    Attributes:
        rows: Method -> how it did; first those that need no training.
        names: The classes.
        seeds: As given.
        n_train, n_test: Pictures of each seed.
        skipped: Files that could not be read.
        notes: What was done otherwise than asked, and what to doubt.
        about: Model, template and shots.
    """

    rows: dict[str, Row]
    names: list[str]
    seeds: list[int]
    n_train: int
    n_test: int
    skipped: list[Skipped]
    notes: list[str]
    about: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """A table: accuracy, what is learned, and mean seconds of training.

        Example:
            >>> rows = {"zero-shot": Row([0.5], [0.0]), "coop": Row([0.75], [21.5], 2048)}
            >>> for line in Comparison(rows, ["rose", "tulip"], [0], 2, 4, [], []).lines():
            ...     print(line)
                       accuracy  parameters  seconds
            zero-shot    50.0 %           0      0.0
            coop         75.0 %       2,048     21.5
        """
        table = [("", "accuracy", "parameters", "seconds")]
        for name, row in self.rows.items():
            seconds = f"{statistics.mean(row.seconds):.1f}"
            accuracy = percent(row.accuracies).strip()
            table.append((name, accuracy, f"{row.n_parameters:,}", seconds))
        a, b, c, d = (max(map(len, column)) for column in zip(*table, strict=True))
        return [f"{w:{a}}  {x:>{b}}  {y:>{c}}  {z:>{d}}" for w, x, y, z in table]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it.

        Example:
            >>> rows = {"zero-shot": Row([0.5, 1.0], [0.0, 0.0])}
            >>> said = Comparison(rows, ["rose", "tulip"], [0, 1], 2, 4, [], []).to_dict()
            >>> said["methods"][0]["mean"]
            0.75
        """
        methods = [
            {
                "method": name,
                "mean": statistics.mean(row.accuracies),
                "deviation": statistics.stdev(row.accuracies) if len(self.seeds) > 1 else None,
                **asdict(row),
            }
            for name, row in self.rows.items()
        ]
        return {
            **self.about,
            "classes": self.names,
            "seeds": self.seeds,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "methods": methods,
            "notes": self.notes,
            "skipped": [asdict(one) for one in self.skipped],
        }


def compare(
    clip: Clip,
    folder: str | Path,
    methods: Sequence[str] | None = None,
    *,
    shots: int = 16,
    seeds: Sequence[int] = (0, 1, 2),
    template: str | None = None,
    epochs: int | None = None,
    test: str | Path | None = None,
    nested: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> Comparison:
    """Let several methods learn from the same pictures, and test them on the same others.

    The pictures are drawn as by ``learn``, anew for each seed. Nothing is saved. A method whose
    training diverges is left out of the table, with a note.

    Args:
        clip: The model.
        folder: Has a sub-folder of pictures for each class.
        methods: Keys of ``METHODS``. None: all of them.
        shots: Pictures a class to learn from.
        seeds: Each draws other pictures and starts elsewhere.
        template: The hand-written sentence. None: one that suits the model.
        epochs: The same for all methods. None: for each as published.
        test: The pictures to test on, instead of those that are left over.
        nested: Sub-folders are classes even where they look like parts of a data set.
        say: Is told what happens, a line each.
        progress: Show bars on stderr.

    Raises:
        ValueError: Folders, names, methods or numbers that do not fit, or a method that the model
            cannot carry. Nothing has run then.

    Example:
        >>> import clipnotes, tempfile
        >>> from clipnotes.data import load_emoji
        >>> top = Path(tempfile.mkdtemp())
        >>> for i, row in enumerate(load_emoji(style=["noto", "twemoji"], category="food-fruit")):
        ...     file = top / row["name"] / f"{i}.png"
        ...     file.parent.mkdir(parents=True, exist_ok=True)
        ...     row["image"].save(file)
        >>> found = compare(clipnotes.load(), top, ["coop"], shots=1, seeds=[0], epochs=2)
        >>> {name: row.n_parameters for name, row in found.rows.items()}
        {'zero-shot': 0, 'nearest mean': 2560, 'linear probe': 2580, 'coop': 2048}
    """
    names_of_methods = list(METHODS) if methods is None else list(methods)
    if not names_of_methods:
        raise ValueError(f"no method was given; choose from {', '.join(METHODS)}")
    for i, name in enumerate(names_of_methods):
        if name in names_of_methods[:i]:
            raise ValueError(f"the method {name} was given twice; give it once")
    plans = {name: Plan(name, shots, seeds, template, epochs=epochs) for name in names_of_methods}
    opened = Folder(folder, test, nested)
    names = opened.names
    hand_written = sentence(clip, template)
    zero_shot = ZeroShot(clip, names, hand_written)
    for plan in plans.values():
        make(clip, names, plan, seeds[0])  # what cannot be made says so now

    pool = opened.read(clip, say, progress)
    doubted = [doubt for plan in plans.values() for doubt in doubts(clip, plan)]
    notes = [*pool.notes, *pool.few(shots), *doubted]
    about = {"model": model_name(clip), "template": hand_written, "shots": shots}
    found = Comparison({}, names, list(seeds), 0, 0, pool.skipped, notes, about)
    for seed in seeds:
        given, asked = pool.draw(shots, seed)
        found.n_train, found.n_test = len(given), len(asked)
        say(f"seed {seed}: learning from {len(given)} pictures, testing on {len(asked)}")
        _baselines(found, zero_shot, given, asked)
        for name, plan in plans.items():
            if seed != seeds[0] and name not in found.rows:
                continue  # it has diverged
            try:
                trained = train(make(clip, names, plan, seed), given, plan, seed, progress=progress)
                learner = trained.learner
                score = evaluate(learner, asked.suited(learner), asked.labels)
            except FloatingPointError as error:
                found.rows.pop(name, None)
                found.notes.append(f"{name} is left out: with seed {seed}, {error}")
                continue
            row = found.rows.setdefault(name, Row(recipe=trained.recipe))
            learned = sum(parameter.numel() for parameter in learner.parameters())
            row.add(score.accuracy, trained.seconds, learned)
            say(f"  {name}: {percent([score.accuracy]).strip()} after {trained.seconds:.1f} s")
    return found


def _baselines(found: Comparison, zero_shot: ZeroShot, given: Pictures, asked: Pictures) -> None:
    clip, names = zero_shot.clip, zero_shot.classnames

    def measure(name: str, make_it: Callable[[], Any], parameters: Callable[[Any], int]) -> None:
        started = time.monotonic()
        made = make_it()
        seconds = time.monotonic() - started
        accuracy = evaluate(made, asked.features, asked.labels).accuracy
        found.rows.setdefault(name, Row()).add(accuracy, seconds, parameters(made))

    pictures = given.features, given.labels
    measure("zero-shot", lambda: zero_shot, lambda made: 0)
    measure(
        "nearest mean",
        lambda: NearestMean(clip, names, *pictures),
        lambda made: made.class_features.numel(),
    )
    measure(
        "linear probe",
        lambda: LinearProbe(clip, names, *pictures),
        lambda made: made.weight.numel() + made.bias.numel(),
    )
