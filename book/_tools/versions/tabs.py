"""What the cells tagged `by-version` print in each version of transformers.

The built book shows it as tabs. `records.py` records it, and each run is compared with the record.
"""

import difflib
import json
import os
from importlib.metadata import version
from typing import Any

from nbformat import NotebookNode

from _tools import ROOT
from _tools.chapters import tags
from clipnotes.trace.notes import MIME

TAG = "by-version"
RECORDED = ROOT / "book" / "recorded"
KINDS = (MIME, "text/html", "text/plain")  # the richest first
WIDTH = 100  # columns of a record

#: What a cell gave: kind and text, or the dict of annotated source. The kind is `stream` or a MIME
#: type.
Outputs = list[list[Any]]


def tagged(notebook: NotebookNode, tag: str = TAG) -> list[NotebookNode]:
    """Return the cells of a notebook that have a tag: those whose output depends on the version."""
    return [cell for cell in notebook.cells if tag in tags(cell)]


def outputs_of(cell: NotebookNode, tag: str = TAG, kinds: tuple[str, ...] = KINDS) -> Outputs:
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
        kind = next((kind for kind in kinds if kind in data), None)
        if kind is None or not data.keys() <= {*kinds}:  # a figure has a text as well
            raise ValueError(
                f"a cell tagged {tag} gives {output.output_type} {sorted(data)}; it can print, and "
                f"show text or HTML: {cell.source[:60]!r}"
            )
        found.append([kind, json.loads(data[kind]) if kind == MIME else data[kind]])
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
        f"{stem}: not what is recorded, run `make record`:\n{said}"
        for old, new in zip(before, now, strict=True)
        if (said := difference(old["outputs"], new["outputs"]))
    ]


def difference(before: Outputs, now: Outputs) -> str:
    """Say in which lines of a record two outputs of a cell differ; nothing if they do not."""
    old, new = (laid_out(_everywhere(outputs)).splitlines() for outputs in (before, now))
    return "\n".join(difflib.unified_diff(old, new, "recorded", "now", lineterm="", n=0))


def _everywhere(value: Any) -> Any:
    """Leave out of annotated source what depends on the version of torch, and on Python's."""
    if isinstance(value, dict):
        return {key: _everywhere(one) for key, one in value.items() if key != "callee"}
    if isinstance(value, list):
        return [_everywhere(one) for one in value if not _of_torch(one)]
    return value


def _of_torch(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("file")).startswith("torch/")


def laid_out(value: Any, indent: int = 0) -> str:
    """Write JSON so that a person can compare two of them: on one line what fits into it."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or indent + len(flat) <= WIDTH:
        return flat
    space = " " * (indent + 1)
    if isinstance(value, dict):
        names = {json.dumps(name, ensure_ascii=False): one for name, one in value.items()}
        parts = [f"{name}: {laid_out(one, indent + 1)}" for name, one in names.items()]
    else:
        parts = [laid_out(one, indent + 1) for one in value]
    inside = ",\n".join(space + part for part in parts)
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inside}\n{' ' * indent}{end}"
