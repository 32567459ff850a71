"""Read the book's chapters: which there are, their cells, their prose. Everything reads them here.

A chapter is a MyST text notebook. `read` gives its cells as the book's builder will see them.
`blocks` gives the places of its code cells in the text, for programs that change the text. Some
reference pages have code cells too; with these, the chapters are the book's notebooks.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from myst_nb.core.read import read_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
from nbformat import NotebookNode

from _tools import ROOT

CHAPTERS = ROOT / "book" / "chapters"
REFERENCE = ROOT / "book" / "reference"
HEADER = "format_name: myst"  # in a page's header: it is a notebook
FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", flags=re.MULTILINE | re.DOTALL)
CODE_CELL = re.compile(
    r"^(?P<fence>```\{code-cell\}[^\n]*\n)(?P<inside>.*?)^```$\n?", flags=re.MULTILINE | re.DOTALL
)
#: What stands in a cell before its code: a block between lines of dashes, or lines with a colon.
OPTIONS = re.compile(r"\A(?:---\n.*?^---\n|(?::[^\n]*\n)+)", flags=re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A code cell in the text of a chapter."""

    start: int  # where its first line begins
    end: int  # where the line after it begins
    fence: str  # its first line
    options: str  # the lines with its tags and other metadata, as they are written
    code: str  # as it is written, with the empty lines around it

    @property
    def metadata(self) -> dict[str, Any]:
        """What its options say."""
        inside = self.options.removeprefix("---\n").removesuffix("---\n")
        return yaml.safe_load(re.sub(r"^:", "", inside, flags=re.MULTILINE)) or {}

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return list(self.metadata.get("tags", []))


def chapters() -> list[Path]:
    """List the chapters' sources, in reading order."""
    return sorted(CHAPTERS.glob("[0-9]*.md"))


def notebooks() -> list[Path]:
    """List all sources that are run: the chapters, then the reference pages that have cells."""
    pages = sorted(REFERENCE.glob("*.md"))
    return chapters() + [page for page in pages if HEADER in page.read_text(encoding="utf-8")]


@cache
def builder_settings() -> MdParserConfig:
    """Return what the book's builder is told about MyST."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return MdParserConfig(enable_extensions=set(config["parse"]["myst_enable_extensions"]))


def parsed(text: str) -> NotebookNode:
    """Make a notebook of a chapter's text, exactly as the book's builder does."""
    return read_myst_markdown_notebook(text, config=builder_settings())


def read(source: Path) -> NotebookNode:
    """Read a chapter as a notebook without outputs."""
    return parsed(source.read_text(encoding="utf-8"))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    """Return the tags of a cell."""
    return list(cell.metadata.get("tags", []))


def alt_text(cell: NotebookNode) -> str:
    """Return what a code cell says that its picture shows."""
    return str(cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")).strip()


def blocks(text: str) -> Iterator[Block]:
    """Yield the code cells of a chapter's text, with their places."""
    for cell in CODE_CELL.finditer(text):
        options = OPTIONS.match(cell["inside"])
        written = options[0] if options else ""
        code = cell["inside"].removeprefix(written)
        yield Block(cell.start(), cell.end(), cell["fence"], written, code)


def prose(text: str) -> str:
    """Return a chapter's text without its header and its code cells."""
    return CODE_CELL.sub("", FRONT_MATTER.sub("", text))
