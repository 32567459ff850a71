"""``clipnotes compare``: several methods on the user's own classes, side by side."""

from __future__ import annotations

import sys
from typing import Annotated, Optional

import typer

from clipnotes.cli import terminal


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

    Each learns from the same images and is tested on the same others, drawn as by `learn`. Beside
    them stands what needs no training. Nothing is saved.
    """
    from clipnotes.teach import compare as run

    names = None if methods is None else [name.strip() for name in methods.split(",")]
    comparison = run(
        terminal.load_model(model),
        folder,
        names,
        shots=shots,
        seeds=range(seed, seed + seeds),
        template=template,
        epochs=epochs,
        test=test,
        nested=nested,
        say=terminal.tell,
        progress=sys.stderr.isatty(),
    )
    terminal.list_skipped(comparison.skipped)
    terminal.tell_notes(comparison.notes)
    if as_json:
        terminal.print_json(comparison.to_dict())
    else:
        terminal.print_scores(comparison.n_test, seeds, comparison.lines())
