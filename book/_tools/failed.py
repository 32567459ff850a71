"""What `execute` keeps of a notebook that failed, until it runs well, apart from good outputs.

Its page shows the cells as they came out, under a notice (`_ext/failed_notice.py`).
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat
import yaml
from nbformat import NotebookNode

from _tools import BUILD, ROOT
from _tools.chapters import blocks, code_cells

FAILED = BUILD / "failed"
TAG = "failed-cell"  # a page's link leads to the cell with this tag
#: Tags that keep a cell or its output from the reader of a page.
HIDES = re.compile(r"(remove|hide)-(cell|input|output)")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Failure(NamedTuple):
    """Why a notebook failed."""

    stem: str  # the notebook's name
    cell: int | None  # the number of the code cell, from 1; None if no cell can be named
    said: str  # the error in one line

    @property
    def command(self) -> str:
        """What repeats the failure."""
        return f"{python()} book/_tools execute {short(self.stem)}"

    def __str__(self) -> str:
        where = f" in code cell {self.cell}" if self.cell else ""
        return f"{self.stem}: {self.said}{where}; again with {self.command}"


def python() -> str:
    """Name the interpreter as one would type it: that of `.venv`, or whichever is active."""
    inside = Path(sys.executable).is_relative_to(ROOT)
    return Path(sys.executable).relative_to(ROOT).as_posix() if inside else "python"


def short(stem: str) -> str:
    """Return what `execute` needs to find a notebook: a chapter's number, or the whole name.

    >>> short("03-inside-an-encoder-layer"), short("troubleshooting")
    ('03', 'troubleshooting')
    """
    number = re.match(r"\d+(?=-)", stem)
    return number[0] if number else stem


def failing(notebook: NotebookNode) -> int | None:
    """Find the code cell that a failed notebook ended at, counted from 0."""
    # The last one with an error: one before it may raise on purpose, and none behind it ran.
    with_error = [
        place
        for place, cell in enumerate(code_cells(notebook))
        if any(output.output_type == "error" for output in cell.outputs)
    ]
    return with_error[-1] if with_error else None


def stored(stem: str) -> Path:
    """Return where a failed notebook is kept."""
    return FAILED / f"{stem}.ipynb"


def keep(stem: str, notebook: NotebookNode) -> None:
    """Store a failed notebook, as it came out."""
    FAILED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, stored(stem))


def forget(stem: str) -> None:
    """Remove what is kept, if something is."""
    stored(stem).unlink(missing_ok=True)


def read(stem: str) -> NotebookNode | None:
    """Return the failed notebook that is kept under a name; None if its last run was good."""
    path = stored(stem)
    return nbformat.read(path, as_version=4) if path.exists() else None


def failure(stem: str) -> Failure | None:
    """Say why a notebook failed; None if its last run was good."""
    notebook = read(stem)
    if notebook is None:
        return None
    place = failing(notebook)
    if place is None:
        return Failure(stem, None, "it ended, and no cell says why")
    cell = code_cells(notebook)[place]
    # The last one: a cell that took too long has first that of its interrupt, which says where.
    (*_, error) = [output for output in cell.outputs if output.output_type == "error"]
    first = COLOURS.sub("", str(error.evalue)).strip().split("\n", 1)[0].strip()
    return Failure(stem, place + 1, f"{error.ename}: {first}" if first else str(error.ename))


def shown(stem: str, text: str) -> str:
    """Return a page's text, in which a cell that failed is not hidden and has the tag TAG."""
    notebook = read(stem)
    place = None if notebook is None else failing(notebook)
    if place is None:
        return text
    cell = list(blocks(text))[place]
    tags = [tag for tag in cell.tags if not HIDES.fullmatch(tag)]
    options = yaml.safe_dump({**cell.metadata, "tags": [*tags, TAG]})
    before, after = text[: cell.start], text[cell.end :]
    return f"{before}{cell.fence}---\n{options}---\n{cell.code}```\n{after}"


def concerns(line: str, sources: Sequence[Path]) -> bool:
    """Tell whether a warning names a page that failed, or a figure that it should have."""
    # A page that failed lacks outputs, so it may also lack the figures that others refer to.
    line = COLOURS.sub("", line).strip()
    for source in sources:
        if line.startswith(f"{source}:"):
            return True
        notebook = read(source.stem)
        for cell in code_cells(notebook) if notebook else []:
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            if name and re.search(rf"['\"]{re.escape(name)}['\"]", line):
                return True
    return False
