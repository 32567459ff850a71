"""Sphinx extension: a page whose notebook failed says so on top, and how to repeat it.

Below that it shows its cells' outputs up to the error of the cell that failed.
"""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from _tools.failed import TAG, Failure, failure, shown


def notice(found: Failure, linked: bool) -> nodes.admonition:
    """Make the notice; it links to the cell that failed (its id is TAG) if the page has it."""
    where: list[nodes.Node] = [nodes.Text("while it ran")]
    if found.cell:
        cell = f"code cell {found.cell}"
        link = nodes.reference("", cell, refid=TAG, internal=True) if linked else nodes.Text(cell)
        where = [nodes.Text("in "), link]
    what = nodes.paragraph("", "It stopped ", *where, nodes.Text(" with"))
    rest = (
        "What the cells above it print comes from this run. The cells below it did not run, so "
        "they show nothing. "
        if found.cell
        else "So its cells show nothing. "
    )
    again = nodes.paragraph("", rest + "This command runs the notebook again:")
    return nodes.admonition(
        "",
        nodes.title("", "The notebook of this page failed"),
        what,
        nodes.literal_block(found.said, found.said, language="none"),
        again,
        nodes.literal_block(found.command, found.command, language="none"),
        classes=["error", "failed-notice"],
    )


class FailedNotice(SphinxTransform):
    """Puts the notice below the title of a page whose notebook failed."""

    default_priority = 450  # behind the header of a chapter, which looks for the first paragraph

    def apply(self, **kwargs: Any) -> None:
        """Change this page."""
        found = failure(self.env.docname.split("/")[-1])
        if found is None:
            return
        cells = [
            one for one in self.document.findall(nodes.container) if f"tag_{TAG}" in one["classes"]
        ]
        for cell in cells:
            cell["ids"].append(TAG)
        title = next(self.document.findall(nodes.title))
        page = title.parent
        page.insert(page.index(title) + 1, notice(found, linked=bool(cells)))


def on_source(app: Sphinx, page: str, source: list[str]) -> None:
    """Let the builder read a page whose cell that failed is not hidden."""
    source[0] = shown(page.split("/")[-1], source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform and the hook."""
    app.add_transform(FailedNotice)
    app.connect("source-read", on_source)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
