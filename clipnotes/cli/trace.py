"""``clipnotes trace``: the call chain of a model, printed or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from clipnotes.cli import terminal


def trace(
    model: terminal.ModelArgument = None,
    text: terminal.Text = "a tulip",
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a page that folds, instead of printing."),
    ] = None,
    force: terminal.Force = False,
) -> None:
    """Run a model once, on a text and a blank image, and print who calls whom with what."""
    if html is not None:
        terminal.check_new(html, force)
    import torch

    from clipnotes.trace import trace as run

    clip = terminal.load_model(model)
    with torch.no_grad():
        calls = run(clip.model, **terminal.example(clip, text))
    terminal.print_or_write(calls, html)
