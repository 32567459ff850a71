"""Sphinx extension: the directive `status`, a table of the runs that this book was built from."""

import json
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from _tools.chapters import notebooks
from _tools.execute import stored
from _tools.failed import failure

Run = dict[str, Any]


def runs() -> dict[str, Run | None]:
    """Read what `execute` kept of each run, by path in `book/`; None if it failed."""
    found: dict[str, Run | None] = {}
    for source in notebooks():
        path = f"{source.parent.name}/{source.name}"
        if failure(source.stem):
            found[path] = None
        else:
            kept = json.loads(stored(source).read_text(encoding="utf-8"))
            found[path] = kept["metadata"]["clipnotes"]
    return found


def moment(run: Run) -> str:
    """Write when a run ended: `2026-11-22T10:18:00+00:00` -> `2026-11-22 10:18`."""
    return str(run["finished"])[:16].replace("T", " ")


def markdown(found: dict[str, Run | None]) -> str:
    """Write the page's tables: one of the runs, one of the versions that they were made with."""
    lines = ["| Notebook | Seconds | Last run (UTC) |", "|---|--:|---|"]
    good = {path: run for path, run in found.items() if run is not None}
    for path, run in found.items():
        told = f"{run['seconds']:.0f} | {moment(run)}" if run else " | failed"
        lines.append(f"| [](../{path}) | {told} |")
    lines.append(f"| all | {sum(run['seconds'] for run in good.values()):.0f} | |")
    sets: dict[str, list[str]] = {}
    for path, run in good.items():
        sets.setdefault(json.dumps(run["versions"]), []).append(path)
    for versions, paths in sets.items():
        who = "All" if len(paths) == len(found) else ", ".join(f"[](../{path})" for path in paths)
        lines += ["", f"{who} ran with", "", "| Package | Version |", "|---|---|"]
        lines += [f"| {name} | {version} |" for name, version in json.loads(versions).items()]
    return "\n".join(lines)


class Written(SphinxDirective):
    """Puts Markdown that this build has written where the directive stands."""

    def markdown(self) -> str:
        """Write it."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Make the nodes."""
        place = nodes.container()
        lines = StringList(self.markdown().splitlines(), f"what `{self.name}` writes")
        self.state.nested_parse(lines, self.content_offset, place)
        return list(place.children)


class Status(Written):
    """Puts the tables of the runs where the directive stands."""

    def markdown(self) -> str:
        """Write the tables."""
        return markdown(runs())


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("status", Status)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
