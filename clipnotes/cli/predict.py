"""``clipnotes predict``: the classes of images, by what ``learn`` has saved."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from clipnotes.cli import terminal
from clipnotes.cli.terminal import shown

if TYPE_CHECKING:
    from torch import Tensor

    from clipnotes.pictures.reading import Skipped
    from clipnotes.prompts.learner import Learner

Prompt = Annotated[
    str,
    typer.Argument(
        help="A folder that `clipnotes learn` has written. Or, if there is no such folder, a "
        "prompt on the Hugging Face hub, as me/my-prompt."
    ),
]


def predict(
    prompt: Prompt,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.")],
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="A directory or a hub id. Default: the one it was learned with."),
    ] = None,
    classes: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Other classes, as in rose,tulip; quote a name that has a comma in it: "
            "'\"salt, pepper\",rose'. Not for csc, tip and lp++, which learn each class by itself."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show.")] = 3,
    as_json: terminal.AsJson = False,
) -> None:
    """Name images with what `learn` has learned, by whichever method."""
    from clipnotes.pictures.folders import list_files
    from clipnotes.prompts import load_prompt
    from clipnotes.prompts.saved.hub import find_prompt
    from clipnotes.prompts.saved.storage import read_prompt

    there = find_prompt(prompt)
    _, card = read_prompt(there)
    clip = terminal.load_model(model) if model else terminal.load_model_of(card)
    learner = load_prompt(there, clip, None if classes is None else _split_names(classes))
    paths = [
        str(file) for path in images for file in (list_files(path) if path.is_dir() else [path])
    ]
    if not paths:
        where = ", ".join(map(str, images))
        raise ValueError(f"no file in {where}; give images, or folders that have some")
    notes: list[str] = []
    logits, rows, skipped = _classify_files(learner, paths, notes.append)
    terminal.list_skipped(skipped)
    terminal.tell_notes(notes)
    if not rows:
        raise ValueError(f"none of {len(paths)} files is an image that can be read")
    best = (logits / learner.temperature).softmax(dim=-1).topk(min(top, len(learner.classnames)))
    pictures = [
        {
            "path": paths[row],
            "classes": [
                {"name": learner.classnames[i], "probability": round(p, 6)}
                for p, i in zip(probabilities, indices, strict=True)
            ],
        }
        for row, probabilities, indices in zip(
            rows, best.values.tolist(), best.indices.tolist(), strict=True
        )
    ]
    if as_json:
        missing = [vars(one) for one in skipped]
        terminal.print_json({"model": card["model"], "pictures": pictures, "skipped": missing})
    else:
        _print_table(pictures)


def _classify_files(
    learner: Learner, paths: Sequence[str], note: Callable[[str], None]
) -> tuple[Tensor, list[int], list[Skipped]]:
    """Read and classify images: logits (n, n_classes), their rows in ``paths``, and the rest."""
    import torch

    from clipnotes.pictures.reading import encode_files

    # A learner that encodes images itself classifies a few at a time, as they are read.
    own = (lambda pixels: learner.logits(learner.inputs(pixels))) if learner.takes_pixels else None
    with torch.no_grad():
        encoded, rows, skipped = encode_files(
            learner.clip, paths, sys.stderr.isatty(), encode=own, note=note
        )
        logits = learner.logits(encoded) if rows and own is None else encoded
    return logits, rows, skipped


def _print_table(pictures: Sequence[dict[str, Any]]) -> None:
    paths = [shown(picture["path"]) for picture in pictures]
    width = max(map(len, paths))
    longest = max(len(entry["name"]) for picture in pictures for entry in picture["classes"])
    for path, picture in zip(paths, pictures, strict=True):
        cells = (
            f"{entry['name']:{longest}} {entry['probability']:6.1%}" for entry in picture["classes"]
        )
        typer.echo(f"{path:{width}}  {'  '.join(cells)}".rstrip())


def _split_names(text: str) -> list[str]:
    (names,) = csv.reader([text], skipinitialspace=True)
    return [name.strip() for name in names]
