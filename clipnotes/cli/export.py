"""``clipnotes export``: what ``learn`` has saved, for programs without clipnotes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Optional

import typer

from clipnotes.cli import terminal
from clipnotes.cli.terminal import shown


def export(
    prompt: Annotated[
        Path,
        typer.Argument(
            metavar="PROMPT_FOLDER", help="A folder that `clipnotes learn` has written."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="A new folder for the classifier.")],
    to: Annotated[
        str,
        typer.Option(
            help="onnx: vision tower and classifier in one file, images in; it needs "
            'pip install "clipnotes-book\\[export]". safetensors: the vectors of the classes, '
            "features in."
        ),
    ] = "onnx",
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A directory or a hub id. Default: the one it was learned with."),
    ] = None,
    force: terminal.Force = False,
) -> None:
    """Take what `learn` has learned to where there is no clipnotes.

    The new folder needs no transformers and no text tower. classifier.json says everything that a
    program has to know, and a short program beside it shows how to use it. Not for cocoop, whose
    classes change with the image; those that change the vision tower
    (vpt, maple, promptsrc, lora, prolip) go to onnx only.
    """
    from clipnotes.prompts import load_prompt
    from clipnotes.prompts.saved.export import check_export
    from clipnotes.prompts.saved.storage import read_prompt

    _, card = read_prompt(prompt)
    check_export(out, to, force)  # before a model is loaded
    clip = terminal.load_model(model) if model else terminal.load_model_of(card)
    learner = load_prompt(prompt, clip)
    learner.export(out, to, force=force)  # type: ignore[arg-type]  # checked above
    size = (out / f"classifier.{to}").stat().st_size
    typer.echo(
        shown(f"The classifier of {len(learner.classnames)} classes is in {out}, {_told(size)}.")
    )
    program, given = ("serve.py", "IMAGE") if to == "onnx" else ("classify.py", "FEATURES.npy")
    needed = "onnxruntime, numpy and pillow" if to == "onnx" else "safetensors and numpy"
    typer.echo(f"With {needed}, and nothing else, try:")
    typer.echo(shown(f"  python {shlex.quote(str(out / program))} {given}"))


def _told(size: int) -> str:
    """Say a number of bytes as people do."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
