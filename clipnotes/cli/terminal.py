"""What the commands have in common: options, loading a model, messages and errors."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from clipnotes.checkpoints import Clip
    from clipnotes.pictures.reading import Skipped

SMALL = 10_000_000  # parameters

# typer reads these at run time, and Python 3.10 has to be able to: no `X | None`.
Model = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--model", help="A directory or a hub id. Default: CLIPNOTES_MODEL or Emoji-CLIP."
    ),
]
ModelArgument = Annotated[
    Optional[str],  # noqa: UP045
    typer.Argument(help="A directory or a hub id. Default: CLIPNOTES_MODEL or Emoji-CLIP."),
]
Text = Annotated[str, typer.Option(help="The text to run it on.")]
# A test compares this list with the methods that there are. They are not imported for it: with
# them comes torch, and --help would wait for it.
Method = Annotated[
    str,
    typer.Option(
        help="coop, csc, kgcoop, cocoop, vpt, maple, promptsrc, lora, tip, lp++ or prolip."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Pictures = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Has a sub-folder of images for each class.")
]
Shots = Annotated[int, typer.Option(min=1, help="Images per class to learn from.")]
Test = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Another folder with the same classes, to test on."),
]
Nested = Annotated[
    bool,
    typer.Option(
        "--nested", help="The folders are classes, even if they look like parts of a data set."
    ),
]
Seed = Annotated[int, typer.Option(help="Of the draw and of training.")]
Template = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="A sentence with one {}, for zero-shot and the methods that have one written by hand. "
        "Default: one that suits the model."
    ),
]
Epochs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(min=1, help="Passes through the images. Default: as the method's authors."),
]


def load_model(name: str | None) -> Clip:
    """Load a model, and let a small one compute on one thread."""
    import torch

    from clipnotes.checkpoints import load

    clip = load(name)
    if clip.model.num_parameters() < SMALL and "OMP_NUM_THREADS" not in os.environ:
        # Threads gain nothing on matrices this small, and where another program runs they wait for
        # each other: 100 steps of Emoji-CLIP took 1 s with one and 18 s with two.
        torch.set_num_threads(1)
    return clip


def load_model_of(card: dict[str, Any]) -> Clip:
    """Load the model that a prompt was learned with."""
    from clipnotes.checkpoints import EMBEDDED

    name = card["model"]
    if name.lower() in EMBEDDED:  # "Emoji-CLIP", wherever it is on this machine
        return load_model(name.lower())  # whatever CLIPNOTES_MODEL says
    if not name or (Path(name).is_absolute() and not Path(name).is_dir()):
        where = f"{name} is not there" if name else "its card names none"
        raise ValueError(
            f"the model that the prompt was learned with is not found ({where}): say which, with "
            "--model"
        )
    return load_model(name)


def example(clip: Clip, text: str, n: int = 1) -> dict[str, Any]:
    """Make something to run a model on: ``n`` times a text, and as many blank images."""
    from PIL import Image

    pixel_values = clip.preprocess([Image.new("RGB", (64, 64), "white")] * n)
    return {**clip.tokenize([text] * n), "pixel_values": pixel_values}


def check_new(path: Path, force: bool) -> None:
    """Check that a file can be written, and that none is there unless ``force`` is set."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}; make it, or give a file in one that is there")
    if path.exists() and not force:
        raise ValueError(f"{path} is there already; give another name, or --force to replace it")


def print_or_write(result: Any, html: Path | None) -> None:
    """Print a result of ``trace`` or ``annotate``, or write its page where it was asked for."""
    if html is None:
        typer.echo(str(result))
        return
    from clipnotes.files import write_atomically

    write_atomically(html, result.to_html().encode())
    tell(f"wrote {html}")


def shown(text: str) -> str:
    """Write what would disturb a line, such as a line break in a file's name, as Python does."""
    disturbs = {"Cc", "Cs", "Zl", "Zp"}  # control characters, bytes that are no text, breaks
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in disturbs
        else letter
        for letter in text
    )


def print_json(answer: Any) -> None:
    """Print JSON that any terminal and any pipe can carry."""
    text = json.dumps(answer, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(answer, indent=2)
    typer.echo(text)


def print_scores(n_test: int, seeds: int, lines: Iterable[str]) -> None:
    """Print what was reached, under a line that says on what."""
    spread = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    typer.echo(f"Accuracy on {n_test} images that were not learnt from{spread}:")
    for line in lines:
        typer.echo(f"  {line}")


def list_skipped(skipped: Sequence[Skipped]) -> None:
    """Name the files that cannot be read, on stderr."""
    if skipped:
        tell(f"skipped {len(skipped)} that cannot be read:")
    for one in skipped:
        tell(f"  {one.path}: {one.reason}")


def tell_notes(notes: Iterable[str]) -> None:
    """Write what had to be assumed, or what is worth knowing, to stderr."""
    for note in notes:
        tell(f"note: {note}")


def tell(line: str) -> None:
    """Write a line to stderr: stdout is for results."""
    typer.echo(shown(line), err=True)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn errors that the user can fix into one line without a traceback."""
    # A character that the terminal cannot show is written as an escape, so that it stops nothing.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has read enough, and typer ends quietly
    except (ValueError, OSError, FloatingPointError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            message = f"{os.fsdecode(error.filename)}: {error.strerror}"
        tell(f"clipnotes: {message}")
        raise typer.Exit(1) from None
