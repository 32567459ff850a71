"""Annotated source as lines of text, from the plain dict of ``Notes.to_dict``.

The code stands on the left, as it was written; what came out, in a margin on the right.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from clipnotes.trace.letters import shape_text
from clipnotes.trace.text import value_text

WIDTH = 100
CODE = 66  # columns of the code, at most; a longer line has its note below
LEAST = 30  # columns of the margin
MARK = "#>"  # begins the lines of a remark

_GLUE = "\0"  # a space at which a line must not be broken
_MAY_BREAK = "\1"  # before a space that is there only for a line to be broken

#: Writes a tensor, given its text and its dict: a page makes an element of it.
WriteTensor = Callable[[str, dict[str, Any]], str]
#: First and last line, the statement if they are one, and name -> dtypes of its tensors before it.
Part = tuple[int, int, dict[str, Any] | None, dict[str, set[str]]]


def pieces_text(pieces: list[tuple[list[str], str]]) -> list[str]:
    """Draw pieces of source in 100 columns, with their notes in a margin on the right.

    Args:
        pieces: From :func:`blocks`.
    """
    fitting = [len(line) for code, note in pieces for line in code if note and len(line) <= CODE]
    column = min(max(fitting, default=0) + 2, WIDTH - LEAST)
    lines = [line for code, note in pieces for line in _beside(code, note, column)]
    return [line.rstrip() for line in lines]


def head_text(notes: dict[str, Any]) -> list[str]:
    """Say what the letters mean, what wraps a function, and how often it was called."""
    lines = []
    if notes["letters"]:
        lines.append(", ".join(f"{letter} = {size}" for letter, size in notes["letters"].items()))
    if notes["wrapped_by"]:
        lines.append(f"wrapped by {', '.join(notes['wrapped_by'])}")
    if notes["calls"] > 1:
        lines.append(f"called {notes['calls']} times; this is the first")
    return lines


def _beside(code: list[str], note: str, column: int) -> Iterator[str]:
    """Put a note beside the lines of a statement, and below the first that is too long for that."""
    right = fold(note, WIDTH - column) if note else []
    for part in (part for line in code for part in _fold_code(line)):
        fits = right and len(part) + 2 <= column
        yield f"{part:{column}}{right.pop(0)}" if fits else part
    yield from (f"{'':{column}}{line}" for line in right)


def fold(text: str, width: int) -> list[str]:
    """Break a text into lines, at spaces; not inside of a shape, but behind the name of a class."""
    whole = re.sub(r"\((?=[\w, ]*\))[^()]*\)", lambda shape: shape[0].replace(" ", _GLUE), text)
    parted = re.sub(r"(?<=\w\()(?=\w+=)", _MAY_BREAK + " ", whole)
    lines = textwrap.wrap(parted, width, subsequent_indent="  ", break_on_hyphens=False)
    return [
        line.replace(_MAY_BREAK + " ", "").replace(_MAY_BREAK, "").replace(_GLUE, " ")
        for line in lines
    ]


def _fold_code(line: str) -> list[str]:
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 8)
    return textwrap.wrap(
        line, WIDTH, subsequent_indent=indent, drop_whitespace=True, break_on_hyphens=False
    )


def blocks(notes: dict[str, Any]) -> Iterator[tuple[list[str], str]]:
    """Give the source in pieces, each with its note; what is no statement has none.

    Args:
        notes: From ``Notes.to_dict``. A remark stands below its piece, as a comment.
    """
    lines, letters = [line.expandtabs(4) for line in notes["lines"]], notes["letters"]
    first, last = notes["head"]
    arguments = [
        f"{name} {value_note(value, letters, set())}" for name, value in notes["arguments"].items()
    ]
    yield lines[first : last + 1], ", ".join(arguments)
    yield from _remark(lines[last], notes["remark"], 4)
    for first, last, statement, dtypes in parts(notes):
        code = lines[first : last + 1]
        if statement is None:
            yield code, ""
            continue
        if statement["text"] and len(code) > 1:
            code = [code[0] + " …" + code[-1].strip()[-3:]]
        yield code, statement_note(statement, letters, dtypes)
        yield from _remark(lines[first], statement["remark"])


def parts(notes: dict[str, Any]) -> Iterator[Part]:
    """Part the lines below the head into statements, and single lines that belong to none.

    Args:
        notes: From ``Notes.to_dict``.
    """
    dtypes = {name: _dtypes(value) for name, value in notes["arguments"].items()}
    done = notes["head"][1] + 1
    for statement in sorted(notes["statements"], key=lambda s: s["first"]):
        if statement["first"] < done:
            continue  # on the line of another one
        yield from ((line, line, None, dtypes) for line in range(done, statement["first"]))
        yield statement["first"], statement["last"], statement, dtypes
        for name, value in statement.get("made", {}).items():
            dtypes[name] = _dtypes(value)
        done = statement["last"] + 1
    yield from ((line, line, None, dtypes) for line in range(done, len(notes["lines"])))


def _remark(line: str, remark: str | None, more: int = 0) -> Iterator[tuple[list[str], str]]:
    if remark:
        indent = " " * (len(line) - len(line.lstrip()) + more)
        yield [f"{indent}{MARK} {part}" for part in fold(remark, CODE - len(indent))], ""


def _as_it_is(text: str, value: dict[str, Any]) -> str:
    return text


def statement_note(
    statement: dict[str, Any],
    letters: dict[str, int],
    dtypes: dict[str, set[str]],
    tensor: WriteTensor = _as_it_is,
) -> str:
    """Say in a line what became of a statement; of a text that stands for itself, nothing.

    Args:
        statement: Of ``Notes.to_dict``.
        letters: Letter -> size.
        dtypes: Name -> the dtypes of its tensors. One is written where it is none of those that
            the statement reads.
        tensor: Called for each tensor.
    """
    if statement["text"]:
        return ""
    if not statement["ran"]:
        return "did not run"
    read = set().union(*(dtypes.get(name, set()) for name in statement["reads"]))
    said: list[str] = []
    if statement["loop"]:
        rounds = f"{statement['times']} round{'s' * (statement['times'] != 1)}"
        several = statement["times"] > 1 and bool(statement["made"])
        said.append(rounds + "; the first:" * several)
    elif statement["taken"] is not None:
        said.append("taken" if statement["taken"] else "not taken")
    values = {
        name: value_note(value, letters, read, tensor) for name, value in statement["made"].items()
    }
    for name, text in values.items():
        view = statement["shares"].get(name)
        text += f", a view of {view}" if view else ""
        said.append(text if len(values) == 1 and not statement["loop"] else f"{name} {text}")
    if statement["written"]:
        said.append(f"wrote into {', '.join(statement['written'])}")
    if statement["returned"] is not None:
        said.append(value_note(statement["returned"], letters, read, tensor))
    if statement["raised"] is not None:
        said.append(f"raised {statement['raised']}")
    text = ", ".join(said)
    return text.replace("first:,", "first:")


def _dtypes(value: dict[str, Any]) -> set[str]:
    inside = (_dtypes(one) for one in (value.get("fields") or {}).values())
    return set().union({value["dtype"]} if value.get("dtype") else set(), *inside)


def value_note(
    value: dict[str, Any],
    letters: dict[str, int],
    known: set[str],
    tensor: WriteTensor = _as_it_is,
    inside_of: str = "",
) -> str:
    """Write a value; the dtype of a tensor only if it is none of those that are known."""
    if value.get("dtype") is not None:
        shape = "nested" if value["shape"] is None else shape_text(value["shape"], letters)
        dtype = "" if value["dtype"] in known else f" {value['dtype']}"
        return tensor(shape + dtype, value)
    name = "" if value["type"] in ("tuple", "list") else value["type"]
    if value.get("fields"):
        if name and inside_of:
            return name  # an output in another one: its own notes say what is in it
        texts = {
            key: value_note(one, letters, known, tensor, inside_of or name)
            for key, one in value["fields"].items()
        }
        inside = [text if key.isdigit() else f"{key}={text}" for key, text in texts.items()]
        # An output has few fields, and each has a name; a list or a dict can be long.
        if len(inside) > (12 if name else 6):
            inside = [*inside[:5], f"… ({len(inside)})"]
        return f"{name}({', '.join(inside)}{',' * (len(inside) == 1 and not name)})"
    return value_text(value)
