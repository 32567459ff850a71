"""``clipnotes push``: what was learned, on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clipnotes.cli.terminal import shown


def push(
    folder: Annotated[Path, typer.Argument(help="A folder that `clipnotes learn` has written.")],
    repository: Annotated[str, typer.Argument(help="Where to, as me/my-prompt.")],
    private: Annotated[
        bool, typer.Option("--private", help="A new repository is for you alone.")
    ] = False,
) -> None:
    """Put what `learn` has saved on the Hugging Face hub, with a page that says what it is.

    The repository is made if there is none; one that holds something else is left alone. You need
    a token that may write: log in once with `hf auth login`, or set HF_TOKEN. Everybody can then
    open it: `clipnotes predict me/my-prompt IMAGE`.
    """
    from clipnotes.prompts import push_prompt

    address = push_prompt(folder, repository, private=private)
    typer.echo(shown(f"{folder} is at {address}. Try:"))
    typer.echo(shown(f"  clipnotes predict {repository} IMAGE"))
