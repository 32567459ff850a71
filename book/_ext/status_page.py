"""Sphinx extension: the directive `status`, a table of the runs that this book was built from."""

import json
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

sys.path.append(str(Path(__file__).resolve().parent.parent))
from execute import stored
from pairs import notebooks

Run = dict[str, Any]


def runs() -> dict[str, Run]:
    """Read what `execute.py` kept of each run: path in `book/` -> seconds, finished, versions."""
    found = {}
    for source in notebooks():
        kept = json.loads(stored(source).read_text(encoding="utf-8"))
        found[f"{source.parent.name}/{source.name}"] = kept["metadata"]["clipnotes"]
    return found


def moment(run: Run) -> str:
    """Write when a run ended: `2026-11-22T10:18:00+00:00` -> `2026-11-22 10:18`."""
    return str(run["finished"])[:16].replace("T", " ")


def markdown(found: dict[str, Run]) -> str:
    """Write the page's tables: one of the runs, one of the versions that they were made with."""
    lines = ["| Notebook | Seconds | Last run (UTC) |", "|---|--:|---|"]
    for path, run in found.items():
        lines.append(f"| [](../{path}) | {run['seconds']:.0f} | {moment(run)} |")
    lines.append(f"| all | {sum(run['seconds'] for run in found.values()):.0f} | |")
    sets: dict[str, list[str]] = {}
    for path, run in found.items():
        sets.setdefault(json.dumps(run["versions"]), []).append(path)
    for versions, paths in sets.items():
        who = "All" if len(sets) == 1 else ", ".join(f"[](../{path})" for path in paths)
        lines += ["", f"{who} ran with", "", "| Package | Version |", "|---|---|"]
        lines += [f"| {name} | {version} |" for name, version in json.loads(versions).items()]
    return "\n".join(lines)


class Status(SphinxDirective):
    """Puts the tables where the directive stands."""

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        place = nodes.container()
        lines = StringList(markdown(runs()).splitlines(), "the runs")
        self.state.nested_parse(lines, self.content_offset, place)
        return list(place.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("status", Status)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
