"""The command line: ``clipnotes doctor``, ``trace``, ``learn`` and ``predict``.

Results go to stdout, everything else to stderr. Torch and transformers are imported by the commands
that need them, so that ``--help`` comes at once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from clipnotes.checkpoints import Clip
    from clipnotes.folders import Skipped
    from clipnotes.prompts.base import Learner

SMALL = 10_000_000  # parameters

app = typer.Typer(
    help="Look into CLIP, and teach it your own classes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# typer reads these at run time, and Python 3.10 has to be able to: no `X | None`.
ModelOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--model", help="A directory or a hub id. Default: CLIPNOTES_MODEL or Emoji-CLIP."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


@app.command()
def doctor() -> None:
    """Look at the installation; say what is missing and the command that mends it."""
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
    force: Force = False,
) -> None:
    """Run a model once, on a text and a blank picture, and print who calls whom with what."""
    with _clear_errors():
        if html is not None:
            _check_new(html, force)
        import torch
        from PIL import Image

        from clipnotes.atomic import write_atomically
        from clipnotes.trace import trace as run

        clip = _load(model)
        pixel_values = clip.preprocess([Image.new("RGB", (64, 64), "white")])
        with torch.no_grad():
            calls = run(clip.model, **clip.tokenize([text]), pixel_values=pixel_values)
        if html is None:
            typer.echo(str(calls))
        else:
            write_atomically(html, calls.to_html().encode())
            _tell(f"wrote {html}")


@app.command()
def learn(
    folder: Annotated[Path, typer.Argument(help="Has a sub-folder of pictures for each class.")],
    out: Annotated[Path, typer.Option(help="The folder for the learned prompt.")],
    model: ModelOption = None,
    shots: Annotated[int, typer.Option(min=1, help="Pictures a class to learn from.")] = 16,
    test: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Another folder with the same classes, to test on."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw and of training.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Repeat with so many seeds; the first one's prompt is saved.")
    ] = 1,
    template: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="The hand-written sentence of zero-shot, with one {}."),
    ] = None,
    n_ctx: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--n-ctx", min=1, help="Learned vectors. Default: 16, or as in --init."),
    ] = None,
    init: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Words to start from, such as 'a photo of a'."),
    ] = None,
    position: Annotated[str, typer.Option(help="Of the name: end, middle or front.")] = "end",
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Vectors of its own for each class.")
    ] = False,
    epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Passes through the pictures. Default: 50 to 200, as CoOp."),
    ] = None,
    force: Force = False,
) -> None:
    """Learn a prompt for your classes from a few pictures of each, and test it.

    Of each class, --shots pictures are drawn to learn from, and all others are for the test. A
    class with too few gives one picture to the test.
    """
    with _clear_errors():
        import matplotlib as mpl

        mpl.use("Agg")  # draw into files, also where there is a screen
        from clipnotes.learn import PICTURE, Plan
        from clipnotes.learn import learn as run

        plan = Plan(
            shots=shots,
            seeds=range(seed, seed + seeds),
            template=template,
            n_ctx=n_ctx,
            init=init,
            position=position,  # type: ignore[arg-type]  # the learner checks it
            per_class=per_class,
            epochs=epochs,
        )
        report = run(
            _load(model),
            folder,
            out,
            plan,
            test=test,
            force=force,
            say=_tell,
            progress=sys.stderr.isatty(),
        )
        _list_skipped(report.skipped)
        for note in report.notes:
            _tell(f"note: {note}")
        of = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
        typer.echo(f"Accuracy on {report.n_test} pictures that were not learnt from{of}:")
        for line in report.lines():
            typer.echo(f"  {line}")
        typer.echo(f"The prompt is in {out}; what is taken for what, in {out / PICTURE}. Try:")
        typer.echo(f"  clipnotes predict {shlex.quote(str(out))} IMAGE")


@app.command()
def predict(
    prompt: Annotated[Path, typer.Argument(help="A folder that `clipnotes learn` has written.")],
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of them.")],
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A directory or a hub id. Default: the one it was learned with."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Name pictures with a learned prompt."""
    with _clear_errors():
        from clipnotes.folders import encode_files, list_files
        from clipnotes.prompts import load_prompt
        from clipnotes.prompts.storage import read_prompt

        _, card = read_prompt(prompt)
        clip = _load(model) if model else _load_of(card)
        learner = load_prompt(prompt, clip)
        paths = [
            str(file) for path in images for file in (list_files(path) if path.is_dir() else [path])
        ]
        # A learner that encodes pictures itself names them a few at a time, as they are read.
        look = _names_at_once(learner)
        encoded, rows, skipped = encode_files(clip, paths, sys.stderr.isatty(), look)
        _list_skipped(skipped)
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


def _print_predictions(
    pictures: Sequence[dict[str, Any]],
    skipped: Sequence[Skipped],
    card: dict[str, Any],
    as_json: bool,
) -> None:
    if as_json:
        missing = [vars(one) for one in skipped]
        answer = {"model": card["model"], "pictures": pictures, "skipped": missing}
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    width = max(len(picture["path"]) for picture in pictures)
    name = max(len(one["name"]) for picture in pictures for one in picture["classes"])
    for picture in pictures:
        said = (f"{one['name']:{name}} {one['probability']:6.1%}" for one in picture["classes"])
        typer.echo(f"{picture['path']:{width}}  {'  '.join(said)}".rstrip())


def _names_at_once(learner: Learner) -> Callable[[Sequence[Any]], Tensor] | None:
    from clipnotes.prompts.visual import VisualLearner

    if not isinstance(learner, VisualLearner):
        return None
    return lambda pictures: learner.logits(learner.inputs(pictures)).detach()


def _load(name: str | None) -> Clip:
    import torch

    from clipnotes.checkpoints import load

    clip = load(name)
    if clip.model.num_parameters() < SMALL and "OMP_NUM_THREADS" not in os.environ:
        # Threads gain nothing on matrices this small, and where another program runs they wait for
        # each other: 100 steps of Emoji-CLIP took 1 s with one and 18 s with two.
        torch.set_num_threads(1)
    return clip


def _load_of(card: dict[str, Any]) -> Clip:
    """The model that a prompt was learned with."""
    from clipnotes.checkpoints import EMOJI_CLIP
    from clipnotes.prompts.card import EMBEDDED

    name = card["model"]
    if name == EMBEDDED:
        return _load(str(EMOJI_CLIP))  # whatever CLIPNOTES_MODEL says
    if not name or (Path(name).is_absolute() and not Path(name).is_dir()):
        where = f"{name} is not there" if name else "its card names none"
        raise ValueError(
            f"the model that the prompt was learned with is not found ({where}): say which, with "
            "--model"
        )
    return _load(name)


def _check_new(path: Path, force: bool) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"{path} is a folder, or lies in one that is not there; give a file")
    if path.exists() and not force:
        raise ValueError(f"{path} is there already; give another name, or --force to replace it")


def _list_skipped(skipped: Sequence[Skipped]) -> None:
    if skipped:
        _tell(f"skipped {len(skipped)} that cannot be read:")
    for one in skipped:
        _tell(f"  {one.path}: {one.reason}")


def _tell(line: str) -> None:
    typer.echo(line, err=True)


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What the user can mend is a line, not a traceback."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        _tell(f"clipnotes: {error}")
        raise typer.Exit(1) from None
