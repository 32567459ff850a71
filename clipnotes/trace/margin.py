"""Annotated source as lines of text, from the plain dict of ``Notes.to_dict``.

The code stands on the left, as it was written; what came out, in a margin on the right.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from clipnotes.trace.letters import shape_text
from clipnotes.trace.text import value_text

WIDTH = 100
CODE = 66  # columns of the code, at most; a longer line has its note below
LEAST = 30  # columns of the margin


def notes_text(notes: dict[str, Any]) -> str:
    """Draw annotated source in 100 columns.

    Args:
        notes: From ``Notes.to_dict``.
    """
    place = f"  {notes['file']}:{notes['line']}" if notes["file"] else ""
    lines = [notes["title"] + place]
    if notes["letters"]:
        lines.append(", ".join(f"{letter} = {size}" for letter, size in notes["letters"].items()))
    if notes["wrapped_by"]:
        lines += _fold(f"wrapped by {', '.join(notes['wrapped_by'])}", WIDTH)
    if notes["calls"] > 1:
        lines.append(f"called {notes['calls']} times; this is the first")
    blocks = list(_blocks(notes))
    fitting = [len(line) for code, note in blocks for line in code if note and len(line) <= CODE]
    column = min(max(fitting, default=0) + 2, WIDTH - LEAST)
    for code, note in blocks:
        lines += _beside(code, note, column)
    return "\n".join(line.rstrip() for line in lines)


def _beside(code: list[str], note: str, column: int) -> Iterator[str]:
    """Put a note beside the lines of a statement, and below the first that is too long for that."""
    right = _fold(note, WIDTH - column) if note else []
    for part in (part for line in code for part in _fold_code(line)):
        fits = right and len(part) + 2 <= column
        yield f"{part:{column}}{right.pop(0)}" if fits else part
    yield from (f"{'':{column}}{line}" for line in right)


def _fold(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)


def _fold_code(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 8)
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False
    )


def _blocks(notes: dict[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Give the source in pieces, each with its note; what is no statement has none."""
    dtypes = {name: _dtypes(value) for name, value in notes["arguments"].items()}
    lines, letters = notes["lines"], notes["letters"]
    first, last = notes["head"]
    arguments = [
        f"{name} {_value(value, letters, set())}" for name, value in notes["arguments"].items()
    ]
    yield lines[first : last + 1], ", ".join(arguments)
    done = last + 1
    for statement in sorted(notes["statements"], key=lambda s: s["first"]):
        if statement["first"] < done:
            continue  # on the line of another one
        yield from (([line], "") for line in lines[done : statement["first"]])
        code = lines[statement["first"] : statement["last"] + 1]
        if statement["text"] and len(code) > 1:
            code = [code[0] + " …" + code[-1].strip()[-3:]]
        yield code, "" if statement["text"] else statement_note(statement, letters, dtypes)
        for name, value in statement.get("made", {}).items():
            dtypes[name] = _dtypes(value)
        done = statement["last"] + 1
    yield from (([line], "") for line in lines[done:])


def statement_note(
    statement: dict[str, Any], letters: dict[str, int], dtypes: dict[str, set[str]]
) -> str:
    """Say in a line what became of a statement.

    Args:
        statement: Of ``Notes.to_dict``.
        letters: Letter -> size.
        dtypes: Name -> the dtypes of its tensors. One is written where it is none of those that
            the statement reads.
    """
    if not statement["ran"]:
        return "did not run"
    read = set().union(*(dtypes.get(name, set()) for name in statement["reads"]))
    parts: list[str] = []
    if statement["loop"]:
        rounds = f"{statement['times']} round{'s' * (statement['times'] != 1)}"
        several = statement["times"] > 1 and bool(statement["made"])
        parts.append(rounds + "; the first:" * several)
    elif statement["taken"] is not None:
        parts.append("taken" if statement["taken"] else "not taken")
    values = {name: _value(value, letters, read) for name, value in statement["made"].items()}
    for name, text in values.items():
        view = statement["shares"].get(name)
        text += f", a view of {view}" if view else ""
        parts.append(text if len(values) == 1 and not statement["loop"] else f"{name} {text}")
    if statement["written"]:
        parts.append(f"wrote into {', '.join(statement['written'])}")
    if statement["returned"] is not None:
        parts.append(_value(statement["returned"], letters, read))
    if statement["raised"] is not None:
        parts.append(f"raised {statement['raised']}")
    text = ", ".join(parts)
    return text.replace("first:,", "first:")


def _dtypes(value: dict[str, Any]) -> set[str]:
    inside = (_dtypes(one) for one in (value.get("fields") or {}).values())
    return set().union({value["dtype"]} if value.get("dtype") else set(), *inside)


def _value(value: dict[str, Any], letters: dict[str, int], known: set[str]) -> str:
    """Write a value; the dtype of a tensor only if it is none of those that are known."""
    if value.get("dtype") is not None and value["shape"] is not None:
        dtype = "" if value["dtype"] in known else f" {value['dtype']}"
        return shape_text(value["shape"], letters) + dtype
    if value.get("fields"):
        inside = [
            _value(one, letters, known) if key.isdigit() else f"{key}={_value(one, letters, known)}"
            for key, one in value["fields"].items()
        ]
        if len(inside) > 6:
            inside = [*inside[:5], f"… ({len(inside)})"]
        name = "" if value["type"] in ("tuple", "list") else value["type"]
        return f"{name}({', '.join(inside)}{',' * (len(inside) == 1 and not name)})"
    return value_text(value)
