"""``clipnotes annotate``: the source of a part of a model with the shapes of a run beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from clipnotes.cli import terminal


def annotate(
    model: terminal.ModelArgument = None,
    module: Annotated[
        str, typer.Option(help="Which part, as vision_model.embeddings. Default: the model.")
    ] = "",
    deep: Annotated[bool, typer.Option("--deep", help="And all that it calls.")] = False,
    text: terminal.Text = "a tulip",
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Write a page with coloured source, instead of printing."),
    ] = None,
    force: terminal.Force = False,
) -> None:
    """Run a model once, and print the source of one of its modules with what each line made."""
    if html is not None:
        terminal.check_new(html, force)
    import torch

    from clipnotes.trace.annotation import annotate as run

    clip = terminal.load_model(model)
    with torch.no_grad():
        # Two of each: a batch of one would have no letter.
        part, args, kwargs = _first_call(clip.model, module, terminal.example(clip, text, 2))
        notes = run(part, *args, **kwargs, deep=deep)
    terminal.print_or_write(notes, html)


def _first_call(model: Any, path: str, inputs: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Find a module, and what the model calls it with."""
    modules = dict(model.named_modules())
    if path not in modules:
        # From the longest part of the path that is there.
        above = path
        while above not in modules:
            above = above.rpartition(".")[0]
        names = ", ".join(name for name, _ in modules[above].named_children())
        raise ValueError(
            f"there is no module {path!r} in this model. In {above or 'the model'} there are: "
            f"{names or 'none'}"
        )
    part, calls = modules[path], []
    hook = part.register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    try:
        model(**inputs)
    finally:
        hook.remove()
    if not calls:
        raise ValueError(
            f"the model does not call {path!r}: give a module that it calls, or part of one"
        )
    return part, *calls[0]
