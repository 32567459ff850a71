"""What a reader has to get through on a page: how many words, which cells, how long they are.

A visible cell shows its code. Cells that only import, only check, or only draw are folded, and run
all the same. Where long code, or code without output, is itself the point, the cell's tag says so.
"""

import re
from pathlib import Path

from nbformat import NotebookNode

from _tools.chapters import code_cells, read, tags

FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
POINT = "the-point"  # the tag of a cell whose code is what the page is about, however long
WORDS, CELLS, LINES, POINTS = range(1500, 2501), range(20, 31), 12, 3
#: What only checks belongs into a fold.
ONLY_HERE = re.compile(r"\bembedded\b")
EXERCISE = re.compile(r"^\*\*\d+\.\d+\*\* \*(?:Easy|Medium|Hard), (\d+) minutes\.\*", re.MULTILINE)


def visible(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells whose code a reader sees."""
    return [cell for cell in code_cells(notebook) if not FOLDED & set(tags(cell))]


def words(notebook: NotebookNode) -> int:
    """Count the words between the code cells."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type != "code")
    return sum(len(text.split()) for text in texts)


def lines(cell: NotebookNode) -> int:
    """Count the lines of a cell that are not empty."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def named(cell: NotebookNode) -> str:
    """Name a cell by its last line."""
    return repr(str(cell.source).strip().splitlines()[-1][:50])


def complaints(notebook: NotebookNode) -> list[str]:
    """Say where a page asks too much of its reader, or gives too little."""
    seen = visible(notebook)
    long = [cell for cell in seen if lines(cell) > LINES and POINT not in tags(cell)]
    found = [f"{lines(cell)} lines, {LINES} are allowed: {named(cell)}" for cell in long]
    mixed = [cell for cell in seen if ONLY_HERE.search(cell.source)]
    found += [f"a check of the book's own model, not folded: {named(cell)}" for cell in mixed]
    for what, number, allowed in (
        ("visible cells", len(seen), CELLS),
        ("words", words(notebook), WORDS),
        (f"cells tagged {POINT}", sum(POINT in tags(cell) for cell in seen), range(POINTS + 1)),
    ):
        if number not in allowed:
            found.append(f"{number} {what}; {allowed[0]} to {allowed[-1]} are allowed")
    return found


def silent(notebook: NotebookNode) -> list[str]:
    """Say which visible cells of a notebook that ran show nothing."""
    dumb = [cell for cell in visible(notebook) if not cell.outputs and POINT not in tags(cell)]
    return [f"a visible cell prints nothing: {named(cell)}" for cell in dumb]


def minutes(source: Path) -> tuple[int, int]:
    """Estimate how long a page takes to read, and add up what its exercises say that they take.

    180 words a minute, half a minute for each visible cell, to the next five minutes.
    """
    notebook = read(source)
    reading = words(notebook) / 180 + len(visible(notebook)) / 2
    tasks = "\n".join(cell.source for cell in notebook.cells if cell.cell_type != "code")
    return 5 * max(1, round(reading / 5)), sum(map(int, EXERCISE.findall(tasks)))
