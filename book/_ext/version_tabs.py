"""Sphinx extension: the output of a cell tagged `by-version` in a tab for each version.

`_tools/versions/tabs.py` has the outputs. sphinx-design switches all tabs of a group together.
Annotated source is recorded as its plain dict, and drawn here.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx_design.shared import create_component

from _tools.failed import failure
from _tools.versions.tabs import TAG, Outputs, recorded
from clipnotes.trace.notes import MIME
from clipnotes.trace.notes_html import notes_fragment

GROUP = "transformers"
LICENCE = "https://github.com/huggingface/transformers/blob/main/LICENSE"


def shown(outputs: Outputs) -> list[nodes.Node]:
    """Make the nodes that MyST-NB would have made of a cell's outputs."""
    made: list[nodes.Node] = []
    for kind, text in outputs:
        if kind == MIME:
            made.append(nodes.raw("", notes_fragment(text), format="html", classes=["output"]))
        elif kind == "text/html":
            made.append(nodes.raw("", text, format="html", classes=["output", "text_html"]))
        else:
            classes = ["output", "stream" if kind == "stream" else "text_plain"]
            made.append(nodes.literal_block(text, text, language="none", classes=classes))
    return made


def tab_set(group: str, tabs: dict[str, list[nodes.Node]], selected: str) -> nodes.Node:
    """Make tabs by label; the reader's choice holds for all sets of a group."""
    items = []
    for name, children in tabs.items():
        label = nodes.rubric(name, name, classes=["sd-tab-label"])
        label["sync_group"], label["sync_id"] = group, name
        content = create_component("tab-content", ["sd-tab-content"], children=children)
        items.append(
            create_component(
                "tab-item",
                ["sd-tab-item"],
                children=[label, content],
                selected=name == selected,
            )
        )
    return create_component("tab-set", ["sd-tab-set"], children=items)


def tabs(outputs: dict[str, Outputs]) -> list[nodes.Node]:
    """Make the tabs of one cell: oldest version first, the newest open."""
    says = nodes.paragraph("", "With transformers", classes=["by-version"])
    drawn = {version: shown(given) for version, given in outputs.items()}
    made = [says, tab_set(GROUP, drawn, list(outputs)[-1])]
    annotated = any(kind == MIME for given in outputs.values() for kind, _ in given)
    return [*made, licence()] if annotated else made


def licence() -> nodes.Node:
    """Say whose the source is that has just been shown, and whose the rest."""
    whose = "The code is that of transformers, © The OpenAI Team Authors and The HuggingFace Team"
    ours = "The remarks, and what stands in the margin, are this book's."
    name = nodes.reference("", "Apache License 2.0", refuri=LICENCE, internal=False)
    parts = nodes.Text(f"{whose}, under the "), name, nodes.Text(f". {ours}")
    return nodes.paragraph("", "", *parts, classes=["source-licence"])


def once(document: nodes.document) -> None:
    """Leave style and script in the first piece of annotated source of a page: they serve all.

    The script has made a function that the other pieces call.
    """
    kept = False
    for node in list(document.findall(nodes.raw)):
        if 'class="clipnotes-notes"' not in node.astext():
            continue
        if kept:
            text = re.sub(r"<style>.*?</style>", "", node.astext(), flags=re.DOTALL)
            call = "<script>clipnotesNotes()</script>"
            text = re.sub(r"<script>.*?</script>", call, text, flags=re.DOTALL)
            node.children, node.rawsource = [nodes.Text(text)], ""
        kept = True


def cells_of(document: nodes.document, tag: str) -> list[nodes.container]:
    """Find the code cells of a page that have a tag."""
    return [
        node
        for node in document.findall(nodes.container)
        if node.get("nb_element") == "cell_code" and f"tag_{tag}" in node["classes"]
    ]


def output_of(cell: nodes.container) -> nodes.container:
    """Find the part of a cell that holds its output."""
    (output,) = (n for n in cell.children if n.get("nb_element") == "cell_code_output")
    return output


class VersionTabs(SphinxTransform):
    """Puts tabs where the output of a tagged cell stands."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Change this page; it is a ValueError if a version has no record of its cells."""
        cells = cells_of(self.document, TAG)
        stem = self.env.docname.split("/")[-1]
        if not cells or failure(stem):  # a page that failed shows what happened, and no more
            return
        known = recorded()
        missing = [v for v, pages in known.items() if len(pages.get(stem, [])) != len(cells)]
        if missing or not known:
            raise ValueError(
                f"{stem}: no record of its cells tagged {TAG} in {missing}: make record"
            )
        for number, cell in enumerate(cells):
            output = output_of(cell)
            output.children.clear()
            output += tabs({v: pages[stem][number]["outputs"] for v, pages in known.items()})
        once(self.document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(VersionTabs)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
