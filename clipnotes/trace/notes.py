"""The source of a function with what each statement made beside it, from a real run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clipnotes.trace.markdown import notes_markdown
from clipnotes.trace.notes_html import notes_fragment, notes_page
from clipnotes.trace.once import notes_text
from clipnotes.trace.watch import Run, Watcher

#: The plain dict as a notebook's output: a text, since notebooks sort what is stored as JSON.
MIME = "application/vnd.clipnotes.notes"


@dataclass(eq=False)
class Notes:
    """A function's source, annotated. ``print`` shows it, in 100 columns.

    Attributes:
        title: What was annotated, such as ``CLIPMLP.forward``.
        path: Where its module is in the annotated one; of a plain function, that of its caller.
        file, line: Where it is written, from its package's folder on.
        letters: Letter -> size, for the shapes.
        output: What the call gave back, untouched; ``None`` for calls inside of the annotated one.
        times, last_path: How many calls these notes stand for, since all of them ran alike, and
            the path of the last one.
        inside: Notes of the calls that it made, if they were asked for.
    """

    title: str
    path: str
    file: str
    line: int
    letters: dict[str, int]
    output: Any = field(repr=False)
    _record: Watcher = field(repr=False)
    times: int = 1
    last_path: str = ""
    inside: list[Notes] = field(default_factory=list, repr=False)
    _statement: int = 0  # its line in the function that called it
    _instruction: int = 0  # and the place in that one's compiled code
    _callee: list[int] | None = None
    _remarks: dict[int, str] = field(default_factory=dict, repr=False)

    def walk(self) -> Iterator[Notes]:
        """Iterate over these notes and all inside of them, each before those that it called."""
        yield self
        for notes in self.inside:
            yield from notes.walk()

    def find(self, name: str) -> Notes:
        """Find the notes of a function or of a module, among these and those inside.

        Args:
            name: A title (``"CLIPMLP.forward"``), the class or the function in it, a module's
                path, or the end of a path (``"layers.0"``).

        Returns:
            The first ones. Calls that ran alike have their notes in the first of them.

        Raises:
            LookupError: There are none. The message lists the titles that there are.
        """
        for notes in self.walk():
            owner, _, function = notes.title.rpartition(".")
            titles = (notes.title, function, owner if function == "forward" else "")
            if name and (name in titles or f".{notes.path}".endswith(f".{name}")):
                return notes
        titles = ", ".join(dict.fromkeys(notes.title for notes in self.walk()))  # type: ignore
        raise LookupError(f"no notes of {name!r}. There are {titles}, and paths of modules.")

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it, but for the output.

        Lines are counted from 0, in ``lines``. A tensor has the same ``mark`` wherever it shows up
        unchanged.

        Returns:
            ``title``, ``path``, ``file``, ``line``, ``letters``, ``times``, ``last_path``;
            ``wrapped_by`` (the decorators, from the outermost on), ``calls`` (how often it was
            called; the first call is annotated), ``head`` (first and last line of the ``def``),
            ``remark``, ``arguments`` (name -> value), ``lines`` (of the source), ``statements``
            (for each its ``first`` and ``last`` line, its ``remark`` and, if it ran, what became
            of it), and ``inside``: the same again for each call that it made, with the
            ``statement`` that made it, by its first line, and where that says what it calls:
            ``callee`` is line, column, last line and column, or ``None``.
        """
        record, source = self._record, self._record.source
        statements: list[dict[str, Any]] = []
        for statement in source.statements:
            entry: dict[str, Any] = {
                "first": statement.first - source.first,
                "last": statement.last - source.first,
                "reads": sorted(statement.reads),
                "loop": statement.is_loop and not statement.in_one_line,
                "text": statement.is_text,
                "ran": statement.first in record.runs,
                "remark": self._remarks.get(statement.first - source.first),
            }
            if run := record.runs.get(statement.first):
                entry |= _run(run)
            statements.append(entry)
        return {
            "title": self.title,
            "path": self.path,
            "file": self.file,
            "line": self.line,
            "letters": self.letters,
            "times": self.times,
            "last_path": self.last_path,
            "wrapped_by": source.decorators,
            "calls": record.calls,
            "head": [line - source.first for line in source.head],
            "remark": self._remarks.get(source.head[0] - source.first),
            "arguments": {name: value.to_dict() for name, value in record.arguments.items()},
            "lines": source.lines,
            "statements": statements,
            "inside": [
                {**notes.to_dict(), "statement": notes._statement, "callee": notes._callee}
                for notes in self.inside
            ],
        }

    def to_markdown(self) -> str:
        """Write the source as code in Markdown, with the notes as comments behind its lines."""
        return notes_markdown(self.to_dict())

    def to_html(self) -> str:
        """Draw the source as a page, in which calls open what they called, in place.

        Point at the name of a tensor, and every place that the same tensor is passed on to lights
        up. The margin with the shapes can be hidden. The page holds its style and its script, and
        asks for nothing.

        Returns:
            The page, from its doctype on.
        """
        return notes_page(self.to_dict())

    def _repr_html_(self) -> str:
        return notes_fragment(self.to_dict())

    def __str__(self) -> str:
        return notes_text(self.to_dict())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # The book records the dict, and draws the page of each version from it.
        return {MIME: json.dumps(self.to_dict(), ensure_ascii=False), "text/plain": str(self)}


def _run(run: Run) -> dict[str, Any]:
    return {
        "times": run.times,
        "taken": run.taken,
        "marks": {name: value.mark for name, value in run.read.items()},
        "made": {name: value.to_dict() for name, value in run.made.items()},
        "written": run.written,
        "shares": run.shares,
        "returned": None if run.returned is None else run.returned.to_dict(),
        "raised": run.raised,
    }
