"""Write each notebook's `.ipynb` from its `.md`: the same cells, no outputs.

The `.md` is the source. The `.ipynb` is there for Colab and for readers who have no jupytext.
The file is written here rather than by jupytext's own command because that gives each cell a new
random id every time, and keeps outputs that a reader left behind.

Each notebook's install cell (the one tagged skip-execution) is filled in here too, with the
repository's address from `pyproject.toml`, so that all hold the same.

    python book/pairs.py            write
    python book/pairs.py --check    write nothing, exit 1 if a pair differs
"""

import hashlib
import re
import sys
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "book" / "chapters"
REFERENCE = ROOT / "book" / "reference"
HEADER = "format_name: myst"  # in a page's header: it is a notebook

INSTALL = """\
# On Colab this installs the book's package. Anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install --quiet "git+{url}\""""
INSTALL_CELL = re.compile(
    r"(?<=^```\{code-cell\} ipython3\n:tags: \[remove-cell, skip-execution\]\n)(?:(?!```).*\n)*",
    flags=re.MULTILINE,
)


def install_text() -> str:
    """Return what the install cell of every chapter says."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "(.+)"$', project, flags=re.MULTILINE)
    if not found:
        raise ValueError('pyproject.toml has no line `Repository = "..."` in [project.urls]')
    return INSTALL.format(url=found[1])


def chapters() -> list[Path]:
    """List the chapters' sources, in reading order."""
    return sorted(CHAPTERS.glob("[0-9]*.md"))


def notebooks() -> list[Path]:
    """List all sources that are run: the chapters, then the reference pages that have cells."""
    return chapters() + [
        p for p in sorted(REFERENCE.glob("*.md")) if HEADER in p.read_text("utf-8")
    ]


def notebook(source: Path) -> NotebookNode:
    """Read a chapter as a notebook without outputs, with ids that depend on its cells only."""
    read = jupytext.read(source)
    cells, taken = [], set()
    for cell in read.cells:
        number = 0
        while True:
            text = f"{cell.cell_type}\n{number}\n{cell.source}"
            name = hashlib.sha256(text.encode()).hexdigest()[:8]
            if name not in taken:
                break
            number += 1
        taken.add(name)
        make = (
            nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        )
        cells.append(make(cell.source, id=name, metadata=cell.metadata))
    metadata = {"kernelspec": read.metadata.kernelspec}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def text(source: Path) -> str:
    """Return what the `.ipynb` beside a chapter has to hold."""
    return nbformat.writes(notebook(source), version=nbformat.NO_CONVERT) + "\n"


def drifted(source: Path) -> bool:
    """Say whether the `.ipynb` beside a chapter is missing or differs from it."""
    twin = source.with_suffix(".ipynb")
    return not twin.exists() or twin.read_text(encoding="utf-8") != text(source)


def main(arguments: list[str]) -> int:
    """Write the pairs that differ, or only name them."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.exit(__doc__)
    if not check:
        for source in notebooks():
            before = source.read_text(encoding="utf-8")
            after = INSTALL_CELL.sub(lambda _: f"\n{install_text()}\n", before)
            if after != before:
                source.write_text(after, encoding="utf-8")
                print(f"install cell renewed: {source.name}")
    stale = [source for source in notebooks() if drifted(source)]
    for source in stale:
        twin = source.with_suffix(".ipynb")
        if not check:
            twin.write_text(text(source), encoding="utf-8")
        print(f"{'differs from its .md' if check else 'written'}: {twin.name}")
    print(f"{len(notebooks())} notebooks, {len(stale)} {'differ' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
