"""What the cells tagged `by-version` print in each version of transformers.

The built book shows it as tabs. `records.py` records it, and each run is compared with the record.
"""

import json
import os
from importlib.metadata import version
from typing import Any

from nbformat import NotebookNode

from _tools import ROOT
from _tools.chapters import tags

TAG = "by-version"
RECORDED = ROOT / "book" / "recorded"

#: What a cell gave: kind and text. The kind is `stream` or a MIME type.
Outputs = list[list[str]]


def tagged(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells of a notebook whose output depends on the version."""
    return [cell for cell in notebook.cells if TAG in tags(cell)]


def outputs_of(cell: NotebookNode) -> Outputs:
    """Return the richest form of each output; a ValueError if no tab can show one."""
    found: Outputs = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            if found and found[-1][0] == "stream":  # one print can arrive in pieces
                found[-1][1] += output.text
            else:
                found.append(["stream", output.text])
            continue
        data = output.get("data", {})
        kind = next((kind for kind in ("text/html", "text/plain") if kind in data), None)
        if kind is None:
            raise ValueError(
                f"a cell tagged {TAG} gives {output.output_type} {sorted(data)}; it can print, and "
                f"show text or HTML: {cell.source[:60]!r}"
            )
        found.append([kind, data[kind]])
    return found


def seen(notebook: NotebookNode) -> list[dict[str, Any]]:
    """Return the record of an executed notebook: source and outputs of its tagged cells."""
    cells = tagged(notebook)
    return [{"source": cell.source, "outputs": outputs_of(cell)} for cell in cells]


def recorded() -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Read all records: version -> stem of the notebook -> its tagged cells; oldest first."""
    files = sorted(RECORDED.glob("*.json"), key=lambda file: [int(n) for n in file.stem.split(".")])
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def differences(stem: str, notebook: NotebookNode) -> list[str]:
    """Compare a notebook, run with the book's model, with this version's record, if any."""
    # Another model prints other sizes, and a version that is not supported has no record.
    known = recorded().get(version("transformers"))
    if known is None or os.environ.get("CLIPNOTES_MODEL"):
        return []
    before, now = known.get(stem, []), seen(notebook)
    if [cell["source"] for cell in before] != [cell["source"] for cell in now]:
        return [f"{stem}: its cells tagged {TAG} are not those in the record: run `make record`"]
    return [
        f"{stem}: recorded {old['outputs']}, gives {new['outputs']}: run `make record`"
        for old, new in zip(before, now, strict=True)
        if old["outputs"] != new["outputs"]
    ]
