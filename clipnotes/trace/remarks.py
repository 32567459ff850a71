"""A person's own remarks beside annotated source, matched by how a statement begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipnotes.trace.notes import Notes
from clipnotes.trace.statements import Source

#: Title of a function -> beginning of a statement -> remark, or one for each such statement.
Remarks = Mapping[str, Mapping[str, str | list[str]]]


def check_remarks(remarks: Any) -> None:
    """Refuse, before anything runs, what cannot be remarks."""
    if not isinstance(remarks, Mapping) or not all(
        isinstance(v, Mapping) for v in remarks.values()
    ):
        raise TypeError(
            'notes must be a dict of dicts, as {"CLIPMLP.forward": {"hidden_states = self.fc1": '
            f'"four times as wide"}}}}, not {remarks!r}'
        )
    for title, inside in remarks.items():
        for beginning, text in inside.items():
            texts = text if isinstance(text, list) else [text]
            begins = isinstance(beginning, str) and bool(beginning.split())
            if not begins or not all(isinstance(one, str) for one in texts):
                raise TypeError(
                    f"notes[{title!r}][{beginning!r}] is {text!r}; give a text, or a list of "
                    "texts, under the beginning of a statement"
                )


def attach(top: Notes, remarks: Remarks) -> None:
    """Put remarks to the statements that they are about.

    Args:
        top: Notes; those inside get the remarks, too.
        remarks: Those that ``annotate`` was given.

    Raises:
        ValueError: A function was not annotated, or no statement or more than one begins so.
    """
    for title, inside in remarks.items():
        about = [notes for notes in top.walk() if notes.title == title]
        if not about:
            titles = ", ".join(dict.fromkeys(notes.title for notes in top.walk()))
            raise ValueError(f"notes has remarks on {title!r}, but what is annotated is {titles}")
        found = _places(about[0], inside)
        for notes in about:
            # Two classes can have one name, and then their lines are not the same.
            if notes._record.code is about[0]._record.code:
                notes._remarks = found


def _places(notes: Notes, remarks: Mapping[str, str | list[str]]) -> dict[int, str]:
    """Find the first line of each statement that a remark is about, counted from 0."""
    found: dict[int, str] = {}
    for beginning, text in remarks.items():
        lines = begin_so(notes._record.source, beginning)
        texts = text if isinstance(text, list) else [text]
        where = f"{notes.title} ({notes.file}:{notes.line})"
        if not lines:
            raise ValueError(
                f"no statement of {where} begins with {beginning!r}. Look up in its source how "
                "the statement reads in this version"
            )
        if len(lines) != len(texts):
            raise ValueError(
                f"{where} has {_count(len(lines), 'statement')} with the beginning {beginning!r}, "
                f"and notes has {_count(len(texts), 'remark')} for that. Write more of the "
                "statement, or a list with a remark for each"
            )
        found.update(zip(lines, texts, strict=True))
    return found


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def begin_so(source: Source, beginning: str) -> list[int]:
    """Find the statements that begin so, and the head: the first line of each, counted from 0."""
    found = []
    for first, last in (source.head, *((one.first, one.last) for one in source.statements)):
        code = "\n".join(source.lines[first - source.first : last - source.first + 1])
        if _plain(code).startswith(_plain(beginning)):
            found.append(first - source.first)
    return found


def _plain(code: str) -> str:
    """Source on one line, however it was broken."""
    return " ".join(code.split())
