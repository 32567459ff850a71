"""The command line: ``clipnotes doctor``, ``trace``, ``learn``, ``compare`` and ``predict``.

Results go to stdout, everything else to stderr. Torch and transformers are imported by the commands
that need them, so that ``--help`` comes at once.
"""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from clipnotes.cli import terminal
from clipnotes.cli.terminal import (
    check_new,
    clear_errors,
    list_skipped,
    load_model,
    print_json,
    shown,
    tell,
)

if TYPE_CHECKING:
    from torch import Tensor

    from clipnotes.pictures.reading import Skipped
    from clipnotes.prompts.learner import Learner

app = typer.Typer(
    help="Look into CLIP, and teach it your own classes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def doctor() -> None:
    """Look at the installation; say what is missing and the command that mends it."""
    with clear_errors():
        from clipnotes.doctor import examine

        findings = examine()
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mark = "!!" if finding.problem else "ok"
            said = ": ".join(part for part in (finding.found, finding.problem) if part)
            typer.echo(f"{mark}  {finding.what:{width}}  {said}")
            if finding.mend:
                typer.echo(f"    {'':{width}}  -> {finding.mend}")
        if any(finding.problem for finding in findings):
            raise typer.Exit(1)


@app.command()
def trace(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A directory or a hub id. Default: CLIPNOTES_MODEL or Emoji-CLIP."),
    ] = None,
    text: Annotated[str, typer.Option(help="The text to run it on.")] = "a tulip",
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a page that folds, instead of printing."),
    ] = None,
    force: terminal.Force = False,
) -> None:
    """Run a model once, on a text and a blank picture, and print who calls whom with what."""
    with clear_errors():
        if html is not None:
            check_new(html, force)
        import torch
        from PIL import Image

        from clipnotes.files import write_atomically
        from clipnotes.trace import trace as run

        clip = load_model(model)
        pixel_values = clip.preprocess([Image.new("RGB", (64, 64), "white")])
        with torch.no_grad():
            calls = run(clip.model, **clip.tokenize([text]), pixel_values=pixel_values)
        if html is None:
            typer.echo(str(calls))
        else:
            write_atomically(html, calls.to_html().encode())
            tell(f"wrote {html}")


@app.command()
def learn(
    folder: terminal.Pictures,
    out: Annotated[Path, typer.Option(help="The folder for what is learned.")],
    method: Annotated[
        str, typer.Option(help="coop, csc, kgcoop, cocoop, vpt, maple or tip.")
    ] = "coop",
    model: terminal.Model = None,
    shots: terminal.Shots = 16,
    test: terminal.Test = None,
    nested: terminal.Nested = False,
    seed: terminal.Seed = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repeat with so many seeds; the first one's prompt is saved.")
    ] = 1,
    template: terminal.Template = None,
    n_ctx: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--n-ctx", min=1, help="Learned vectors. Default: as the method's authors."),
    ] = None,
    init: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Words to start from, such as 'a photo of a'."),
    ] = None,
    position: Annotated[str, typer.Option(help="Of the name: end, middle or front.")] = "end",
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Vectors of its own for each class, as csc.")
    ] = False,
    epochs: terminal.Epochs = None,
    lr: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="The highest learning rate. Default: as the method's authors."),
    ] = None,
    force: terminal.Force = False,
) -> None:
    """Learn a prompt for your classes from a few pictures of each, and test it.

    Of each class, --shots pictures are drawn to learn from, and all others are for the test. A
    class with too few gives one picture to the test. The method is CoOp, with one prompt for all
    classes, or one of those that followed it, each with the recipe of its authors.
    """
    with clear_errors():
        import matplotlib as mpl

        mpl.use("Agg")  # draw into files, also where there is a screen
        from clipnotes.teach import PICTURE, Plan, Report, describe
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
        )
        told: list[str] = []

        def show(report: Report) -> None:
            list_skipped(report.skipped)
            told.extend(report.notes)
            for note in told:
                tell(f"note: {note}")
            typer.echo(_accuracy_on(report.n_test, seeds))
            for line in report.lines():
                typer.echo(f"  {line}")
            typer.echo(f"Learned by {describe(report.recipe)}.")

        report = run(
            load_model(model),
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
        for note in report.notes[len(told) :]:
            tell(f"note: {note}")
        drawn = f"; what is taken for what, in {out / PICTURE}" * (out / PICTURE).exists()
        typer.echo(shown(f"The prompt is in {out}{drawn}. Try:"))
        typer.echo(shown(f"  clipnotes predict {shlex.quote(str(out))} IMAGE"))


@app.command()
def compare(
    folder: terminal.Pictures,
    methods: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Some of the methods of `learn`, as in coop,kgcoop. Default: all."),
    ] = None,
    model: terminal.Model = None,
    shots: terminal.Shots = 16,
    test: terminal.Test = None,
    nested: terminal.Nested = False,
    seed: terminal.Seed = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with so many seeds.")] = 3,
    template: terminal.Template = None,
    epochs: terminal.Epochs = None,
    as_json: terminal.AsJson = False,
) -> None:
    """Let several methods learn your classes, and print how they do, side by side.

    Each learns from the same pictures and is tested on the same others, drawn as by `learn`. Beside
    them stands what needs no training. Nothing is saved.
    """
    with clear_errors():
        from clipnotes.teach import compare as run

        names = None if methods is None else [name.strip() for name in methods.split(",")]
        found = run(
            load_model(model),
            folder,
            names,
            shots=shots,
            seeds=range(seed, seed + seeds),
            template=template,
            epochs=epochs,
            test=test,
            nested=nested,
            say=tell,
            progress=sys.stderr.isatty(),
        )
        list_skipped(found.skipped)
        for note in found.notes:
            tell(f"note: {note}")
        if as_json:
            print_json(found.to_dict())
            return
        typer.echo(_accuracy_on(found.n_test, seeds))
        for line in found.lines():
            typer.echo(f"  {line}")


@app.command()
def predict(
    prompt: Annotated[Path, typer.Argument(help="A folder that `clipnotes learn` has written.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A directory or a hub id. Default: the one it was learned with."),
    ] = None,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Other classes, as in rose,tulip; quote a name that has a comma in it: "
            "'\"salt, pepper\",rose'. Not for csc and tip, which learn each class by itself."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 3,
    as_json: terminal.AsJson = False,
) -> None:
    """Name pictures with what `learn` has learned, by whichever method."""
    with clear_errors():
        import torch

        from clipnotes.pictures.folders import list_files
        from clipnotes.pictures.reading import encode_files
        from clipnotes.prompts import load_prompt
        from clipnotes.prompts.saved.storage import read_prompt

        _, card = read_prompt(prompt)
        clip = load_model(model) if model else terminal.load_model_of(card)
        learner = load_prompt(prompt, clip, None if classes is None else _names_in(classes))
        paths = [
            str(file) for path in images for file in (list_files(path) if path.is_dir() else [path])
        ]
        # A learner that encodes pictures itself names them a few at a time, as they are read.
        look = _names_at_once(learner)
        with torch.no_grad():
            bars, notes = sys.stderr.isatty(), list[str]()
            encoded, rows, skipped = encode_files(clip, paths, bars, look, notes.append)
            list_skipped(skipped)
            for note in notes:
                tell(f"note: {note}")
            if not rows:
                raise ValueError(f"none of {len(paths)} files is a picture that can be read")
            logits = learner.logits(encoded) if look is None else encoded
        found = logits.softmax(dim=-1).topk(min(top, len(learner.classnames)))
        pictures = [
            {
                "path": paths[row],
                "classes": [
                    {"name": learner.classnames[i], "probability": round(p, 6)}
                    for p, i in zip(values, indices, strict=True)
                ],
            }
            for row, values, indices in zip(
                rows, found.values.tolist(), found.indices.tolist(), strict=True
            )
        ]
        _print_predictions(pictures, skipped, card, as_json)


def _accuracy_on(n_test: int, seeds: int) -> str:
    of = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    return f"Accuracy on {n_test} pictures that were not learnt from{of}:"


def _print_predictions(
    pictures: Sequence[dict[str, Any]],
    skipped: Sequence[Skipped],
    card: dict[str, Any],
    as_json: bool,
) -> None:
    if as_json:
        missing = [vars(one) for one in skipped]
        answer = {"model": card["model"], "pictures": pictures, "skipped": missing}
        print_json(answer)
        return
    paths = [shown(picture["path"]) for picture in pictures]
    width = max(map(len, paths))
    name = max(len(one["name"]) for picture in pictures for one in picture["classes"])
    for path, picture in zip(paths, pictures, strict=True):
        said = (f"{one['name']:{name}} {one['probability']:6.1%}" for one in picture["classes"])
        typer.echo(f"{path:{width}}  {'  '.join(said)}".rstrip())


def _names_in(given: str) -> list[str]:
    (names,) = csv.reader([given], skipinitialspace=True)
    return [name.strip() for name in names]


def _names_at_once(learner: Learner) -> Callable[[Tensor], Tensor] | None:
    return learner.logits if learner.takes_pixels else None
