"""Annotated source as Markdown, from the plain dict of ``Notes.to_dict``."""

from __future__ import annotations

from typing import Any

from clipnotes.trace.margin import head_text
from clipnotes.trace.once import each_once, heading


def notes_markdown(notes: dict[str, Any]) -> str:
    """Write source as blocks of code, each note as a comment behind the last line of its piece.

    Args:
        notes: From ``Notes.to_dict``.
    """
    parts = []
    for one, first, pieces in each_once(notes):
        place = f"`{one['file']}:{one['line']}`" if first else "as above" + ", but" * bool(pieces)
        parts.append("  \n".join([f"**`{heading(one)}`** {place}", *head_text(one)]))
        if pieces:
            code = "\n".join(_with_comment(lines, note) for lines, note in pieces)
            parts.append(f"```python\n{code}\n```")
    return "\n\n".join(parts) + "\n"


def _with_comment(lines: list[str], note: str) -> str:
    return "\n".join(lines) + (f"  # {note}" if note else "")
