"""Sphinx extension: beside Emoji-CLIP's output of a cell tagged `real`, a tab "the real CLIP".

`_tools/real/tabs.py` has the outputs. Where there is none, a line below the output says so. The
directive `real-record` says of which cells there is one.
"""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from _ext.status_page import Written
from _ext.version_tabs import cells_of, output_of, shown, tab_set
from _tools.chapters import read
from _tools.failed import failure
from _tools.real.tabs import TAG, Record, beside, counted, recorded
from _tools.versions.tabs import Outputs

OURS, THEIRS = "Emoji-CLIP", "the real CLIP"
HOW = "on-the-real-clip"  # the label of the section that tells how a record is made


def told(record: Record) -> str:
    """Say what the record is of."""
    return f"{record['model']}, recorded on {record['date']}, transformers {record['transformers']}"


def small(*parts: nodes.Node) -> nodes.paragraph:
    """Make a small line below an output."""
    return nodes.paragraph("", "", *parts, classes=["real-clip"])


def not_yet(page: str) -> nodes.paragraph:
    """Make the line for a cell without a record."""
    link = pending_xref(
        "",
        nodes.inline("", "How it is done"),
        refdomain="std",
        reftype="ref",
        reftarget=HOW,
        refexplicit=True,
        refwarn=True,
        refdoc=page,
    )
    return small(nodes.Text("Not yet recorded on the real CLIP. "), link, nodes.Text("."))


def beside_ours(output: nodes.container, given: Outputs, record: Record) -> None:
    """Put the output of a cell into one tab, and what the real CLIP gave into another."""
    ours = list(output.children)
    output.children = []
    theirs = [*shown(given), small(nodes.Text(f"{told(record)}."))]
    output += tab_set("clip", {OURS: ours, THEIRS: theirs}, OURS)


class RealTabs(SphinxTransform):
    """Puts tabs where the output of a tagged cell stands, or the line below it."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change this page; it is a ValueError if one of its tagged cells draws."""
        page = self.env.docname
        stem, cells = page.split("/")[-1], cells_of(self.document, TAG)
        # With another model, what stands there is not Emoji-CLIP's.
        if not cells or failure(stem) or os.environ.get("CLIPNOTES_MODEL"):
            return
        record, known = recorded(), beside(stem, read(Path(self.env.doc2path(page))))
        for cell, given in zip(cells, known, strict=True):
            output = output_of(cell)
            if next(iter(output.findall(nodes.image)), None):
                raise ValueError(f"{stem}: a cell tagged {TAG} draws; it can only print")
            if record and given is not None:
                beside_ours(output, given, record)
            else:
                output += not_yet(page)


class RealRecord(Written):
    """Says which cells have a record."""

    def markdown(self) -> str:
        """Write one sentence, and a table of the pages."""
        record = recorded()
        says = f"The record: {told(record)}." if record else "No record has been made yet."
        lines = [says, "", "| Page | Cells | Recorded |", "|---|--:|--:|"]
        for path, (known, number) in counted().items():
            lines.append(f"| [](../{path}) | {number} | {known} |")
        return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform and the directive."""
    app.add_transform(RealTabs)
    app.add_directive("real-record", RealRecord)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
