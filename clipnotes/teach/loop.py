"""The loop of ``learn`` and ``compare``: draw some images, learn from them, test on the others.

To learn is to compare a single method with what needs no training, and to save it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from clipnotes.checkpoints import Clip
from clipnotes.files import check_writable
from clipnotes.prompts import LinearProbe, NearestMean, Scores, ZeroShot, evaluate
from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.methods.published import Trained
from clipnotes.prompts.saved.card import model_name
from clipnotes.prompts.saved.identity import text_tower_digest
from clipnotes.prompts.saved.storage import check_folder
from clipnotes.prompts.training.resume import digest
from clipnotes.teach.calibrate import calibrate
from clipnotes.teach.folder import Folder, Pictures, Pool
from clipnotes.teach.output import check_outside, draw_confusion
from clipnotes.teach.plan import Plan, template_for
from clipnotes.teach.reports import Comparison, Report, Row, percent

PICTURE = "confusion.png"
MARGIN = 1_000_000  # bytes, for the figure and the card

Say = Callable[[str], None]
Result = tuple[Trained, Scores]


@dataclass(frozen=True)
class Lesson:
    """One seed: the images drawn to learn from, and the others, to test on."""

    zero_shot: ZeroShot  # learns nothing, and knows the model and the classes
    seed: int
    train: Pictures
    test: Pictures

    def baselines(self) -> dict[str, Result]:
        """Test what needs no training."""
        # Otherwise the first seed's linear probe would load it, and its seconds would say so.
        import sklearn.linear_model
        import sklearn.model_selection  # noqa: F401

        clip, names = self.zero_shot.clip, self.zero_shot.classnames
        learned_from = self.train.features, self.train.labels
        makers: dict[str, Callable[[], Classifier]] = {
            "zero-shot": lambda: self.zero_shot,
            "nearest mean": lambda: NearestMean(clip, names, *learned_from),
            "linear probe": lambda: LinearProbe(clip, names, *learned_from),
        }
        results = {}
        for name, make in makers.items():
            started = time.monotonic()
            classifier = make()
            seconds = time.monotonic() - started
            results[name] = Trained(classifier, {}, 0, seconds), self._score(classifier)
        return results

    def teach(self, plan: Plan, checkpoint: Path | None = None, progress: bool = False) -> Result:
        """Make a learner by the plan, train it, and test it."""
        clip = self.zero_shot.clip
        learner = plan.make(clip, self.zero_shot.classnames, self.seed)
        trained = plan.published.train(
            learner,
            self.train.suited(learner),
            self.train.labels,
            plan.settings(clip, self.seed),
            checkpoint=checkpoint,
            progress=progress,
        )
        if plan.calibrate:
            calibrate(trained, plan, self.train, self.seed)
        return trained, self._score(trained.learner)

    def _score(self, classifier: Classifier) -> Scores:
        return evaluate(classifier, self.test.suited(classifier), self.test.labels)


def lessons(
    pool: Pool, zero_shot: ZeroShot, shots: int, seeds: Sequence[int], say: Say
) -> Iterator[Lesson]:
    """Draw anew for each seed."""
    for seed in seeds:
        train, test = pool.draw(shots, seed)
        say(f"seed {seed}: learning from {len(train)} images, testing on {len(test)}")
        yield Lesson(zero_shot, seed, train, test)


def learn(
    clip: Clip,
    folder: str | Path,
    out: str | Path,
    plan: Plan | None = None,
    *,
    test: str | Path | None = None,
    nested: bool = False,
    force: bool = False,
    say: Say = lambda line: None,
    show: Callable[[Report], None] = lambda report: None,
    progress: bool = False,
) -> Report:
    """Learn from a folder with a sub-folder for each class, by the plan's method, and save it.

    Of each class, ``shots`` images are drawn to learn from and all others are for the test. A
    class with too few gives one to the test and the rest to learning; a single image is learnt
    from. With ``test``, another folder with the same classes, nothing is held back.

    With ``calibrate`` in the plan, up to four more trainings leave out a part of the images each.
    What they say of these gives a temperature, which is saved and which ``clipnotes predict`` uses;
    images of the test have no part in it, and it changes no accuracy.

    Training can be killed: called again with the same images and plan, it goes on. (The short
    trainings of ``Plan.calibrate`` start again.)

    Args:
        clip: The model.
        folder: The images.
        out: The folder for the prompt and ``confusion.png``; not among the images.
        plan: The method, how many images and seeds, and so on. None: ``Plan()``.
        test: The images to test on, instead of those that are left over.
        nested: Sub-folders are classes even where they look like parts of a data set.
        force: Replace a prompt that is there.
        say: Is told what happens, a line each.
        show: Is given the report as soon as it has all numbers. What can fail afterwards takes
            them from nobody. The figure is drawn last, and if it cannot be, that is a note.
        progress: Show bars on stderr.

    Raises:
        ValueError: Folders, names or plan that do not fit, or a method or a loss that the model
            cannot carry; nothing has been written then.
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
    for images in (folder, test):
        if images is not None:
            check_outside(out, images)
    opened = Folder(folder, test, nested)
    untrained = plan.make(clip, opened.names, plan.seeds[0])  # what cannot be made says so now
    zero_shot = ZeroShot(clip, opened.names, template_for(clip, plan.template))
    # The prompt and its checkpoints: what is learned, momentum, and a copy while it is replaced.
    check_writable(out, MARGIN + 4 * sum(p.nbytes for p in untrained.parameters()))

    pool = opened.read(clip, say, progress)
    notes = [*pool.notes, *pool.few(plan.shots), *plan.doubts(clip)]
    report = Report(skipped=pool.skipped, notes=notes)
    for lesson in lessons(pool, zero_shot, plan.shots, plan.seeds, say):
        out.mkdir(parents=True, exist_ok=True)
        learned, scores = lesson.teach(plan, _checkpoint(out, plan, lesson), progress)
        results = {**lesson.baselines(), "learned": (learned, scores)}
        accuracies = {name: result[1].accuracy for name, result in results.items()}
        for name, (_, found) in results.items():
            report.add(name, found)
        if lesson.seed == plan.seeds[0]:
            report.n_train, report.n_test = len(lesson.train), len(lesson.test)
            report.recipe, confusion = learned.recipe, scores.confusion
            save = partial(
                learned.learner.save,
                out,
                shots=learned.shots,
                seed=lesson.seed,
                scores=accuracies,
                recipe=learned.recipe,
            )
            try:
                save(force=force)
                saved = True
            except OSError as error:  # the other seeds still run, so no number is lost
                say(f"not saved, and tried again at the end: {error}")
                saved = False
    show(report)
    if not saved:
        save(force=True)  # a prompt that is there can only be our own
    report.notes += draw_confusion(out / PICTURE, confusion, opened.names)
    for checkpoint in out.glob(".training-*.safetensors"):
        checkpoint.unlink(missing_ok=True)
    return report


def _checkpoint(out: Path, plan: Plan, lesson: Lesson) -> Path:
    """Name a file for this training and no other, which goes on from there if it was killed."""
    clip, names = lesson.zero_shot.clip, lesson.zero_shot.classnames
    labels = lesson.train.labels.tolist()
    key = text_tower_digest(clip.model), vars(plan), lesson.seed, names, labels
    return out / f".training-{digest(*map(repr, key), lesson.train.features)}.safetensors"


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
    say: Say = lambda line: None,
    progress: bool = False,
) -> Comparison:
    """Let several methods learn from the same images, and test them on the same others.

    The images are drawn as by ``learn``, anew for each seed. Nothing is saved. A method whose
    training diverges is left out of the table, with a note.

    Args:
        clip: The model.
        folder: Has a sub-folder of images for each class.
        methods: Keys of ``clipnotes.prompts.methods.PUBLISHED``. None: all that can be used here.
        shots: Images per class to learn from.
        seeds: Each draws different images and starts elsewhere.
        template: The hand-written sentence. None: one that suits the model.
        epochs: The same for all methods. None: for each as published, and ``lora`` for 100 steps.
        test: The images to test on, instead of those that are left over.
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
        >>> table = compare(clipnotes.load(), top, ["coop"], shots=1, seeds=[0], epochs=2)
        >>> {name: row.n_parameters for name, row in table.rows.items()}
        {'zero-shot': 0, 'nearest mean': 2560, 'linear probe': 2580, 'coop': 2048}
    """
    missing = {name: why for name in PUBLISHED if (why := PUBLISHED[name].missing())}
    chosen = [n for n in PUBLISHED if n not in missing] if methods is None else list(methods)
    if not chosen:
        raise ValueError(f"no method was given; choose from {', '.join(PUBLISHED)}")
    for i, name in enumerate(chosen):
        if name in chosen[:i]:
            raise ValueError(f"the method {name} was given twice; give it once")
    plans = {name: Plan(name, shots, seeds, template, epochs=epochs, brief=True) for name in chosen}
    opened = Folder(folder, test, nested)
    hand_written = template_for(clip, template)
    zero_shot = ZeroShot(clip, opened.names, hand_written)
    for plan in plans.values():
        plan.make(clip, opened.names, seeds[0])  # what cannot be made says so now

    pool = opened.read(clip, say, progress)
    doubts = [doubt for plan in plans.values() for doubt in plan.doubts(clip)]
    if methods is None:
        doubts += [f"{name} is left out: {why}" for name, why in missing.items()]
    notes = [*pool.notes, *pool.few(shots), *doubts]
    about = {"model": model_name(clip), "template": hand_written, "shots": shots}
    table = Comparison(
        rows={},
        names=opened.names,
        seeds=list(seeds),
        n_train=0,  # both are known once there is a draw
        n_test=0,
        skipped=pool.skipped,
        notes=notes,
        about=about,
    )
    for lesson in lessons(pool, zero_shot, shots, seeds, say):
        table.n_train, table.n_test = len(lesson.train), len(lesson.test)
        for name, result in lesson.baselines().items():
            _add(table, name, *result)
        for name, plan in plans.items():
            if lesson.seed != seeds[0] and name not in table.rows:
                continue  # it has diverged with an earlier seed
            try:
                trained, scores = lesson.teach(plan, progress=progress)
            except FloatingPointError as error:
                table.rows.pop(name, None)
                table.notes.append(f"{name} is left out: with seed {lesson.seed}, {error}")
                continue
            _add(table, name, trained, scores)
            say(f"  {name}: {percent([scores.accuracy]).strip()} after {trained.seconds:.1f} s")
    return table


def _add(table: Comparison, name: str, trained: Trained, scores: Scores) -> None:
    row = table.rows.setdefault(name, Row(recipe=trained.recipe))
    row.accuracies.append(scores.accuracy)
    row.ece.append(scores.ece)
    row.seconds.append(trained.seconds)
    row.n_parameters = trained.learner.n_parameters
