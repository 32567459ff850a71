"""Write each notebook's `.ipynb` from its `.md`: the same cells, no outputs.

    python book/_tools pairs            write
    python book/_tools pairs --check    write nothing, exit 1 if a pair differs

The `.ipynb` is for Colab and for readers without jupytext, whose own command would give each cell a
new random id every time and keep outputs. In the `.md`, the install cell is written with the
repository's address (it is tagged skip-execution), and the exercises' stubs (see `stubs.py`).
"""

import hashlib
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from _tools import ROOT, stubs
from _tools.chapters import blocks, notebooks, read

INSTALL = """\
# On Colab this installs the book's package if it is missing; what Colab brings stays as it is.
import sys
from importlib.metadata import distributions, version

found = {dist.name: dist.version for dist in distributions()}
if "clipnotes-book" in found:
    print(f"clipnotes {found['clipnotes-book']} is here already; nothing was installed.")
elif "google.colab" not in sys.modules:
    print('clipnotes is missing. Install it with: %pip install "git+{url}"')
else:
    kept = " ".join(f"{n}=={found[n]}" for n in ("torch", "numpy", "transformers"))
    %pip install --quiet {kept} "git+{url}"
    print(f"Installed clipnotes {version('clipnotes-book')}; kept {kept}.")"""


def repository_url() -> str:
    """Return the repository's address, which `pyproject.toml` decides."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^Repository = "(.+)"$', project, flags=re.MULTILINE)
    if not found:
        raise ValueError('pyproject.toml has no line `Repository = "..."` in [project.urls]')
    return found[1]


def install_text() -> str:
    """Return what the install cell of every chapter says."""
    return INSTALL.replace("{url}", repository_url())


def renewed(source: Path) -> str:
    """Return what a chapter's `.md` has to hold: its own text, with the cells that are written."""
    text = source.read_text(encoding="utf-8")
    for cell in reversed(list(blocks(text))):  # from the end, so that the places stay right
        if "skip-execution" in cell.tags:
            install = f"{cell.fence}{cell.options}\n{install_text()}\n```\n"
            text = text[: cell.start] + install + text[cell.end :]
    return stubs.renew(text)


def notebook(source: Path) -> NotebookNode:
    """Read a chapter as a notebook without outputs, with ids that depend on its cells only."""
    chapter = read(source)
    cells, taken = [], set()
    for cell in chapter.cells:
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
    metadata = {"kernelspec": chapter.metadata.kernelspec}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def text(source: Path) -> str:
    """Return what the `.ipynb` beside a chapter has to hold."""
    return nbformat.writes(notebook(source), version=nbformat.NO_CONVERT) + "\n"


def drifted(source: Path) -> bool:
    """Say whether a chapter's written cells are stale, or the `.ipynb` beside it differs."""
    twin = source.with_suffix(".ipynb")
    if source.read_text(encoding="utf-8") != renewed(source):
        return True
    return not twin.exists() or twin.read_text(encoding="utf-8") != text(source)


def main(arguments: list[str]) -> int:
    """Write the pairs that differ, or only name them."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.exit(__doc__)
    if not check:
        for source in notebooks():
            after = renewed(source)
            if after != source.read_text(encoding="utf-8"):
                source.write_text(after, encoding="utf-8")
                print(f"cells renewed: {source.name}")
    stale = [source for source in notebooks() if drifted(source)]
    for source in stale:
        twin = source.with_suffix(".ipynb")
        if not check:
            twin.write_text(text(source), encoding="utf-8")
        print(f"{'not what `make sync` writes' if check else 'written'}: {twin.name}")
    print(f"{len(notebooks())} notebooks, {len(stale)} {'differ' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
