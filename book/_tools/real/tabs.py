"""What the cells tagged `real` print on OpenAI's own CLIP.

The built book shows it in a tab beside Emoji-CLIP's. `record.py` records it. A cell that has
changed since then, or that stands below code that has, counts as never recorded.
"""

import hashlib
import json
from typing import Any

from nbformat import NotebookNode

from _tools.chapters import code_cells, notebooks, read, tags
from _tools.versions import tabs
from _tools.versions.tabs import Outputs, outputs_of

TAG = "real"
REAL = "openai/clip-vit-base-patch32"
RECORD = tabs.RECORDED / "real" / f"{REAL.replace('/', '--')}.json"
KINDS = ("text/html", "text/plain")  # no picture: nobody could have written its alt text

Record = dict[str, Any]


def code(notebook: NotebookNode) -> list[dict[str, str]]:
    """Return the code of the tagged cells, each with a digest of all the code above it."""
    found, above = [], hashlib.sha256()
    for cell in code_cells(notebook):
        if TAG in tags(cell):
            found.append({"source": cell.source, "above": above.hexdigest()[:16]})
        if "skip-execution" not in tags(cell):  # it names the repository, and a fork has another
            above.update(f"{cell.source}\0".encode())
    return found


def seen(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return the record of an executed notebook: code and outputs of its tagged cells."""
    cells = tabs.tagged(notebook, TAG)
    outputs = [outputs_of(cell, TAG, KINDS) for cell in cells]
    return [{**cell, "outputs": given} for cell, given in zip(code(notebook), outputs, strict=True)]


def recorded() -> Record | None:
    """Read the record; None if there is none, a ValueError if it is that of a different model."""
    if not RECORD.exists():
        return None
    record: Record = json.loads(RECORD.read_text(encoding="utf-8"))
    if record["model"] != REAL:
        raise ValueError(f"{RECORD} is of {record['model']}; the book shows {REAL} only: remove it")
    return record


def beside(stem: str, notebook: NotebookNode) -> list[Outputs | None]:
    """Return what the real CLIP gave at each tagged cell of a page; None if it was not asked."""
    cells = (recorded() or {"pages": {}})["pages"].get(stem, [])
    given = {(cell["source"], cell["above"]): cell["outputs"] for cell in cells}
    return [given.get((cell["source"], cell["above"])) for cell in code(notebook)]


def counted() -> dict[str, tuple[int, int]]:
    """Count each page's tagged cells, by its path in `book/`: those recorded, and all of them."""
    found = {}
    for source in notebooks():
        outputs = beside(source.stem, read(source))
        if outputs:
            known = sum(given is not None for given in outputs)
            found[f"{source.parent.name}/{source.name}"] = known, len(outputs)
    return found


def changed() -> list[str]:
    """Say of which pages a record was made that does not hold any more, and is not shown."""
    pages = {source.stem: source for source in notebooks()}
    found = []
    for stem, cells in (recorded() or {"pages": {}})["pages"].items():
        outputs = beside(stem, read(pages[stem])) if stem in pages else []
        lost = len(cells) - sum(given is not None for given in outputs)
        if lost:
            found.append(
                f"{stem}: {lost} of {len(cells)} cells recorded on {REAL} are not shown, since "
                "their code, or code above them, has changed"
            )
    return found
