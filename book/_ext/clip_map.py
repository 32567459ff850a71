"""Sphinx extension: the drawing of CLIP, whole on the first page and small on top of a chapter.

The directive `clip-map` makes the whole one, in which each box is a link to its chapter. Sphinx
resolves these links like all others. The small one shows where in CLIP the chapter is.
"""

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from _ext import clip_drawing
from _ext.chapter_header import CHAPTERS, chapter_pages
from _tools.clip_map import BOXES, of_chapter


class clip_map(nodes.General, nodes.Element):
    """A drawing: of the chapter in `here`, or whole, with a reference to each chapter inside.

    It holds no text. The search would find the words of the drawing on every page.
    """


def reference(page: str, here: str) -> addnodes.pending_xref:
    """Make a reference to a page, which knows its page's name after it was resolved."""
    to = {"reftarget": f"/{page}", "refdoc": here, "refwarn": True}
    kind = {"refdomain": "std", "reftype": "doc", "refexplicit": True}
    return addnodes.pending_xref("", nodes.inline("", ""), **kind, **to)


class ClipMap(SphinxDirective):
    """Puts the whole drawing where the directive stands."""

    def run(self) -> list[nodes.Node]:
        """Make the node."""
        pages = chapter_pages(self.env)
        wanted = sorted({box.chapters[0] for box in BOXES})
        lost = [number for number in wanted if number not in pages]
        if lost:
            raise ExtensionError(
                f"boxes of the map of CLIP lead to chapters that are not there: {lost}"
            )
        found = clip_map()
        for number in wanted:
            holder = nodes.inline("", "", reference(pages[number], self.env.docname))
            holder["chapter"], holder["page"] = number, pages[number]
            found += holder
        return [found]


def visit(self: HTML5Translator, node: clip_map) -> None:
    """Write the drawing, the whole one with the addresses that Sphinx found."""
    if "here" in node:
        self.body.append(clip_drawing.small(node["here"]))
        raise nodes.SkipNode
    links = {}
    for holder in node.children:
        assert isinstance(holder, nodes.inline)
        for found in holder.findall(nodes.reference):
            title = self.builder.env.titles[holder["page"]].astext()
            links[holder["chapter"]] = clip_drawing.Link(
                found["refuri"], f"chapter {holder['chapter']}, {title}"
            )
    self.body.append(clip_drawing.whole(links))
    raise nodes.SkipNode


class WhereAreWe(SphinxTransform):
    """Puts the small drawing below the title of a chapter."""

    default_priority = 310  # behind the header of a chapter, before the notice of a failed one

    def apply(self, **kwargs: Any) -> None:
        """Change the page, if it is a chapter's."""
        page = self.env.docname
        if not page.startswith(CHAPTERS):
            return
        number = next(n for n, name in chapter_pages(self.env).items() if name == page)
        if not of_chapter(number):
            raise ExtensionError(f"{page} has no box on the map of CLIP: book/_tools/clip_map.py")
        title = next(self.document.findall(nodes.title))
        title.parent.insert(title.parent.index(title) + 1, clip_map(here=number))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the node, the directive and the transform."""
    app.add_node(clip_map, html=(visit, None))
    app.add_directive("clip-map", ClipMap)
    app.add_transform(WhereAreWe)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
