"""``clipnotes learn``: a prompt for the user's own classes."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from clipnotes.cli import terminal
from clipnotes.cli.terminal import shown, tell

if TYPE_CHECKING:
    from clipnotes.teach import Report

# The options of this command alone; Python 3.10 has to be able to read them: no `X | None`.
Seeds = Annotated[
    int, typer.Option(min=1, help="Repeat with so many seeds; the first one's prompt is saved.")
]
ContextLength = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--n-ctx", min=1, help="Learned vectors. Default: as the method's authors."),
]
Init = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Words to start from, such as 'a photo of a'."),
]
Position = Annotated[str, typer.Option(help="Of the name: end, middle or front.")]
PerClass = Annotated[
    bool, typer.Option("--per-class", help="Vectors of its own for each class, as csc.")
]
LearningRate = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="The highest learning rate. Default: as the method's authors."),
]
# A test compares it with the losses that there are, which are not imported: with them comes torch.
Loss = Annotated[
    str,
    typer.Option(
        help="softmax or sigmoid. By softmax, an image chooses one of all classes; by sigmoid, "
        "SigLIP's own, each class is a yes or a no by itself. sigmoid needs a SigLIP; tip, lp++ "
        "and prolip cannot take it."
    ),
]
Push = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        metavar="NAME/NAME",
        help="Then put it on the Hugging Face hub, as me/my-prompt; needs a token that may write.",
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate",
        help="Train up to four times more, each time without some images, to find a temperature "
        "that brings the probabilities of `predict` nearer to how often it is right.",
    ),
]


def learn(
    folder: terminal.Pictures,
    out: Annotated[Path, typer.Option(help="The folder for what is learned.")],
    method: terminal.Method = "coop",
    model: terminal.Model = None,
    shots: terminal.Shots = 16,
    test: terminal.Test = None,
    nested: terminal.Nested = False,
    seed: terminal.Seed = 0,
    seeds: Seeds = 1,
    template: terminal.Template = None,
    n_ctx: ContextLength = None,
    init: Init = None,
    position: Position = "end",
    per_class: PerClass = False,
    epochs: terminal.Epochs = None,
    lr: LearningRate = None,
    loss: Loss = "softmax",
    calibrate: Calibrate = False,
    force: terminal.Force = False,
    push: Push = None,
) -> None:
    """Learn a prompt for your classes from a few images of each, and test it.

    Of each class, --shots images are drawn to learn from, and all others are for the test. A
    class with too few gives one image to the test. The method is CoOp, with one prompt for all
    classes, or one of those that followed it, each with the recipe of its authors.
    """
    _prepare(push)
    from clipnotes.teach import Plan
    from clipnotes.teach import learn as run

    plan = Plan(
        method=method,
        shots=shots,
        seeds=range(seed, seed + seeds),
        template=template,
        n_ctx=n_ctx,
        init=init,
        position=position,  # type: ignore[arg-type]  # the learner checks it
        per_class=per_class,
        epochs=epochs,
        lr=lr,
        loss=loss,
        calibrate=calibrate,
    )
    notes: list[str] = []  # those that were told with the scores; more may come after them

    def show(report: Report) -> None:
        notes.extend(report.notes)
        _show(report, seeds)

    report = run(
        terminal.load_model(model),
        folder,
        out,
        plan,
        test=test,
        nested=nested,
        force=force,
        say=tell,
        show=show,
        progress=sys.stderr.isatty(),
    )
    terminal.tell_notes(report.notes[len(notes) :])
    _finish(out, push)


def _prepare(push: str | None) -> None:
    """Draw into files, also where there is a screen; check what a push needs before anything."""
    import matplotlib as mpl

    mpl.use("Agg")
    if push is not None:
        from clipnotes.prompts.saved.hub import check_push

        check_push(push)


def _finish(out: Path, push: str | None) -> None:
    """Say where the prompt is and what to do next; put it on the hub if that was asked for."""
    from clipnotes.teach import PICTURE

    drawn = f"; what is taken for what, in {out / PICTURE}" * (out / PICTURE).exists()
    typer.echo(shown(f"The prompt is in {out}{drawn}. Try:"))
    typer.echo(shown(f"  clipnotes predict {shlex.quote(str(out))} IMAGE"))
    if push is None:
        return
    from clipnotes.prompts import push_prompt

    try:
        address = push_prompt(out, push)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{error}. The prompt is safe in {out}; to push it again: clipnotes push "
            f"{shlex.quote(str(out))} {push}"
        ) from error
    typer.echo(shown(f"It is also at {address}"))


def _show(report: Report, seeds: int) -> None:
    """Print the scores, and what else is known once training is over."""
    from clipnotes.teach import describe

    terminal.list_skipped(report.skipped)
    terminal.tell_notes(report.notes)
    terminal.print_scores(report.n_test, seeds, report.lines())
    typer.echo(f"Learned by {describe(report.recipe)}.")
