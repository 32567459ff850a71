"""``clipnotes ask``: a question about an image, answered by Emoji-LLaVA."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ask(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    question: Annotated[str, typer.Argument(help="Such as 'how many things are there?'.")],
) -> None:
    """Ask the embedded Emoji-LLaVA about an image.

    It is a very small model. It was trained on one to four emoji drawings on a plain background,
    seen at 64 x 64 pixels, and on eleven sorts of questions: what is this?, what kind of thing is
    this?, what is at the top left?, is anything at the top left?, how many things are there?, what
    colour is the background?, describe the image., is there a tulip?, how many tulips are there?,
    where is the tulip?, what is beside the tulip?. Of a photograph it will say something, too, and
    you should not believe it. Chapter 16 of the book measures how often it is right.
    """
    from clipnotes.llava import load_llava
    from clipnotes.pictures.reading import read_picture

    try:
        picture = read_picture(image)
    except (OSError, ValueError) as error:
        raise ValueError(f"{image}: {error}") from error
    typer.echo(load_llava().ask(picture, question)[0])
