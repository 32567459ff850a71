"""``clipnotes doctor``: what is installed, what is missing, and what to type next."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from clipnotes.cli import terminal


def doctor(
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A directory or a hub id: also measure what kind of model this is."),
    ] = None,
) -> None:
    """Look at the installation; say what is missing and the command that fixes it.

    With MODEL, any two-tower model of transformers: measure where it reads a text out, whether
    padding matters to it, which loss it was made for, and more.
    """
    from clipnotes.doctor import examine

    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        mark = "!!" if finding.problem else "ok"
        text = ": ".join(part for part in (finding.found, finding.problem) if part)
        typer.echo(f"{mark}  {finding.what:{width}}  {text}")
        if finding.mend:
            typer.echo(f"    {'':{width}}  -> {finding.mend}")
    if model is not None:
        _measure(model)
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


def _measure(name: str) -> None:
    from clipnotes.probing import probe
    from clipnotes.probing.opened import open_model

    opened, tokenizer, note = open_model(name)
    terminal.tell_notes([note] if note else [])
    try:
        found = probe(opened, tokenizer)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    typer.echo(f"\n{found}")
