"""Each function once: which notes are shown whole, and in what the later ones of it differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clipnotes.trace.margin import WIDTH, blocks, fold, head_text, pieces_text
from clipnotes.trace.text import span

#: Lines of source, and the note that stands beside them.
Piece = tuple[list[str], str]


def each_once(notes: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool, list[Piece]]]:
    """Walk over notes and those inside, each before those that it called.

    Args:
        notes: From ``Notes.to_dict``.

    Yields:
        Notes, whether their source comes for the first time, and the pieces to show: then all of
        it, and else the statements whose notes are different now.
    """
    known: dict[tuple[Any, ...], list[Piece]] = {}
    for one in _walk(notes):
        key = one["file"], one["line"], *one["lines"]
        pieces = list(blocks(one))
        if key not in known:
            known[key] = pieces
            yield one, True, pieces
            continue
        both = zip(pieces, known[key], strict=True)
        yield one, False, [piece for piece, earlier in both if piece[1] != earlier[1]]


def notes_text(notes: dict[str, Any]) -> str:
    """Draw annotated source in 100 columns, and below it what it called.

    Args:
        notes: From ``Notes.to_dict``.
    """
    parts: list[str] = []
    for one, first, pieces in each_once(notes):
        place = f"{one['file']}:{one['line']}" if first else "as above" + ", but" * bool(pieces)
        head = [f"{heading(one)}  {place}", *head_text(one)]
        lines = [part for line in head for part in fold(line, WIDTH)]
        parts.append("\n".join([*lines, *pieces_text(pieces)]))
    return "\n\n".join(parts)


def heading(notes: dict[str, Any]) -> str:
    """Name a function by where it was called and what it is.

    Args:
        notes: From ``Notes.to_dict``.
    """
    path = span(notes["path"], notes["last_path"], notes["times"])
    return f"{path}  {notes['title']}".strip()


def _walk(notes: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield notes
    for one in notes["inside"]:
        yield from _walk(one)
