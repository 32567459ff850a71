"""A function as rows of HTML: its code, its margin, remarks, and below a call what that called."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import count
from typing import Any

from clipnotes.trace.margin import head_text, parts, statement_note, value_note
from clipnotes.trace.notes_code import Span, argument_lines, lines_html, tensor_names
from clipnotes.trace.text import span

_EMPTY = '<div class="cn-note"></div>'
# Where a tensor begins, its mark ends and it ends, in a note that is not escaped yet.
_BEGIN, _MARK, _END = "\x01", "\x02", "\x03"


def shared_marks(notes: dict[str, Any]) -> set[int]:
    """Find the tensors that show up in more than one statement, or in more than one function.

    Args:
        notes: From ``Notes.to_dict``.
    """
    return {mark for mark, times in Counter(_marks(notes)).items() if times > 1}


def _marks(notes: dict[str, Any]) -> Iterator[int]:
    for value in notes["arguments"].values():
        yield from _marks_in(value)
    for statement in notes["statements"]:
        values = list(statement.get("made", {}).values())
        values += [statement["returned"]] if statement.get("returned") else []
        made = {mark for value in values for mark in _marks_in(value)}
        yield from made | (set(statement.get("marks", {}).values()) - {None})
    for inside in notes.get("inside", ()):
        yield from _marks(inside)


def _marks_in(value: dict[str, Any]) -> set[int]:
    """The marks of the tensors that a note of this value shows."""
    found: set[int] = set()

    def tensor(text: str, one: dict[str, Any]) -> str:
        if one.get("mark") is not None:
            found.add(one["mark"])
        return text

    value_note(value, {}, set(), tensor)
    return found


@dataclass
class Tree:
    """What the functions of a page share: which tensors are lit, and the numbers of openings."""

    shared: set[int]
    openings: Iterator[int] = field(default_factory=count)

    def note(self, text: str) -> str:
        """Make HTML of a note in which tensors were written with :meth:`tensor`."""
        text = re.sub(r"\((?=\w+=)|(?<=\w)=", r"\g<0><wbr>", escape(text))

        def element(found: re.Match[str]) -> str:
            mark = f' data-m="{found[1]}"' if found[1] else ""
            return f'<span class="cn-t"{mark}>{found[2]}</span>'

        return re.sub(f"{_BEGIN}(.*?){_MARK}(.*?){_END}", element, text)

    def tensor(self, text: str, value: dict[str, Any]) -> str:
        """Write a tensor so that :meth:`note` finds it."""
        mark = value.get("mark")
        return f"{_BEGIN}{mark if mark in self.shared else ''}{_MARK}{text}{_END}"


@dataclass
class _Opening:
    """Calls that one expression made, and where it stands."""

    number: int
    statement: int
    callee: list[int] | None
    calls: list[dict[str, Any]]
    in_code: bool = False


def function_html(
    notes: dict[str, Any], above: dict[str, Any] | None, tree: Tree, first_lines: int | None = None
) -> Iterator[str]:
    """Draw a function and all that it called.

    Args:
        notes: From ``Notes.to_dict``.
        above: Those of the function that it was called by.
        tree: Of the page.
        first_lines: How many lines are to be seen at first; the others are folded.
    """
    about = head_text(notes)
    if above is not None and above["letters"] == notes["letters"]:
        about = about[bool(notes["letters"]) :]
    openings = _openings(notes, tree)
    spans = [*_calls_in_code(notes["lines"], openings), *tensor_names(notes, tree.shared)]
    code = lines_html(notes["lines"], spans)
    yield '<div class="cn-fn">'
    yield from (f'<p class="cn-about">{escape(line)}</p>' for line in about)
    yield from _head(notes, code, tree)
    yield from _below(notes, notes.get("remark"), notes["head"][0], openings, tree)
    drawn, folded, total = notes["head"][1] - notes["head"][0] + 1, False, lines_at_first(notes)
    for first, last, statement, dtypes in parts(notes):
        if first_lines is not None and drawn >= first_lines and not folded:
            folded = True
            yield f'<details class="cn-fold"><summary>{total - drawn} more lines</summary>'
        drawn += 1 if statement is not None and statement["text"] else last - first + 1
        if statement is None:
            yield _row(notes, code, first, last)
        elif statement["text"]:
            draw = _docstring if last > first else _row
            yield draw(notes, code, first, last)
        else:
            note = tree.note(statement_note(statement, notes["letters"], dtypes, tree.tensor))
            kind = "" if statement["ran"] else " cn-off"
            kind += " cn-raised" if statement.get("raised") else ""
            at_end = [one for one in openings if one.statement == first and not one.in_code]
            yield _row(notes, code, first, last, note, kind, at_end)
            yield from _below(notes, statement.get("remark"), first, openings, tree)
    yield "</details></div>" if folded else "</div>"


def lines_at_first(notes: dict[str, Any]) -> int:
    """Count the lines of a function that are to be seen before anybody opens a docstring."""
    hidden = (s["last"] - s["first"] for s in notes["statements"] if s["text"])
    return len(notes["lines"]) - notes["head"][0] - sum(hidden)


def _head(notes: dict[str, Any], code: list[str], tree: Tree) -> Iterator[str]:
    """Draw the ``def``: each argument has its value beside the line that names it."""
    first, last = notes["head"]
    places = argument_lines(notes["lines"])
    for line in range(first, last + 1):
        values = {
            name: tree.note(value_note(value, notes["letters"], set(), tree.tensor))
            for name, value in notes["arguments"].items()
            if places.get(name, first) == line
        }
        alone = len(values) == 1 and line > first
        said = [value if alone else f"{escape(name)} {value}" for name, value in values.items()]
        yield _row(notes, code, line, line, ", ".join(said))


def _row(
    notes: dict[str, Any],
    code: list[str],
    first: int,
    last: int,
    note: str = "",
    kind: str = "",
    at_end: list[_Opening] | None = None,
) -> str:
    lines = notes["lines"]
    left = _indent(lines[first])
    drawn = []
    for i in range(first, last + 1):
        own = _indent(lines[i])
        style = f' style="--i:{own}"' if own != left else ""
        end = _at_end(at_end) if i == last and at_end else ""
        drawn.append(f'<span class="cn-line"{style}>{code[i]}{end}</span>')
    kind += "" if lines[first].strip() else " cn-blank"
    return (
        f'<div class="cn-row{kind}" style="--i:{left}"><code>{"".join(drawn)}</code>'
        f'<div class="cn-note">{note}</div></div>'
    )


def _docstring(notes: dict[str, Any], code: list[str], first: int, last: int) -> str:
    """Draw a text of several lines, folded to the first of them."""
    quotes = escape(notes["lines"][last].strip()[-3:])
    rest = "".join(
        f'<span class="cn-line" style="--i:{_indent(notes["lines"][i])}">{code[i]}</span>'
        for i in range(first + 1, last + 1)
    )
    return (
        f'<div class="cn-row" style="--i:{_indent(notes["lines"][first])}">'
        f'<details class="cn-doc"><summary><code><span class="cn-line">{code[first]}'
        f' <i class="s cn-cut">…{quotes}</i></span></code></summary><code>{rest}</code></details>'
        f"{_EMPTY}</div>"
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# Calls


def _openings(notes: dict[str, Any], tree: Tree) -> list[_Opening]:
    """Put the calls that one expression made together."""
    openings: list[_Opening] = []
    known = {s["first"] for s in notes["statements"]}
    for call in notes.get("inside", ()):
        callee, statement = call.get("callee"), call.get("statement")
        statement = statement if statement in known else notes["head"][0]
        for other in openings:
            if callee and (other.callee, other.statement) == (callee, statement):
                other.calls.append(call)
                break
        else:
            openings.append(_Opening(next(tree.openings), statement, callee, [call]))
    return openings


def _calls_in_code(lines: list[str], openings: list[_Opening]) -> Iterator[Span]:
    """Give the spans of what is called; one around another one goes to the end of the row."""
    taken: list[tuple[int, int, int]] = []
    known = [(opening, opening.callee) for opening in openings if opening.callee]
    for opening, (line, start, last, end) in sorted(known, key=_length):
        end = end if last == line else len(lines[line])
        if all(line != other or end <= s or e <= start for other, s, e in taken):
            taken.append((line, start, end))
            opening.in_code = True
            yield Span(line, start, end, f'class="cn-call" data-o="{opening.number}"')


def _length(known: tuple[_Opening, list[int]]) -> tuple[int, int]:
    _, (line, start, last, end) = known
    return last - line, end - start


def _at_end(openings: list[_Opening]) -> str:
    return "".join(
        f' <span class="cn-call cn-at-end" data-o="{one.number}">'
        f"{escape(one.calls[0]['title'])}</span>"
        for one in openings
    )


def _below(
    notes: dict[str, Any],
    remark: str | None,
    statement: int,
    openings: list[_Opening],
    tree: Tree,
) -> Iterator[str]:
    """Draw what stands under a statement: a remark, and what it called."""
    if remark:
        paragraphs = re.split(r"\n\s*\n", remark.strip())
        prose = "".join(f"<p>{_prose(text)}</p>" for text in paragraphs)
        yield f'<div class="cn-row"><div class="cn-remark">{prose}</div>{_EMPTY}</div>'
    for opening in openings:
        for call in opening.calls if opening.statement == statement else ():
            yield f'<details class="cn-in" data-o="{opening.number}"><summary>{_title(call, notes)}'
            yield "</summary>"
            yield from function_html(call, notes, tree)
            yield "</details>"


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _title(call: dict[str, Any], above: dict[str, Any]) -> str:
    path = call.get("path", "")
    paths = span(path, call.get("last_path") or path, call.get("times", 1)).strip()
    where = f"line\xa0{call['line']}" if call["file"] == above["file"] else place(call)
    title = f"<b>{escape(call['title'])}</b>"
    return f"{title} {more(' · '.join(text for text in (paths, where) if text))}"


def place(notes: dict[str, Any]) -> str:
    """Say where a function is written."""
    return f"{notes['file']}:{notes['line']}" if notes["file"] else ""


def more(text: str) -> str:
    """Write a text in the quiet colour."""
    return f'<span class="cn-more">{escape(text)}</span>'
