"""Sphinx extension: take from each page what this book does not use, or what is wrong in it."""

import re
from typing import Any

from bs4.builder import HTMLTreeBuilder
from docutils import nodes
from sphinx.application import Sphinx


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop thebe's scripts, which nothing here uses; that they load twice is an error."""
    kept = [script for script in context.get("script_files", []) if "thebe" not in str(script)]
    context["script_files"] = kept


def begin_with_code(app: Sphinx, doctree: nodes.document) -> None:
    """Drop a block's empty first lines: links in a block are found again by its text."""
    for block in doctree.findall(nodes.literal_block):
        if block.astext().startswith("\n"):
            block.rawsource = block.astext().lstrip("\n")
            block.children = []
            block += nodes.Text(block.rawsource)


#: What docutils, myst-nb and MyST write that a screen reader stumbles over, and what is right.
MENDED = {
    '<summary aria-label="Toggle hidden content">': "<summary>",  # it has a text, and that is read
    ' role="doc-biblioentry"': "",  # a role that is no more
    '<div role="list" class="citation-list">': '<div class="citation-list">',  # of no list items
    '<th class="head"><p></p></th>': "<td></td>",  # the corner of a table is no heading
}
#: The arguments of a long signature, one a line. Sphinx makes a list of descriptions of nothing.
ARGUMENTS = re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*</dd>\n)+)</dl>')
#: What a fold hides, by the tag of its cell; others say "code cell content".
FOLDED = {"solution": "the solution", "imports": "the imports", "checked": "what is checked here"}
#: What stands on such a fold, open or shut.
FOLD = re.compile(
    rf'<div class="cell [^"]*\btag_({"|".join(FOLDED)})\b[^>]*>\s*<details[^>]*>\s*<summary'
    r".*?</summary>",
    flags=re.DOTALL,
)


def mended(body: str) -> str:
    """Replace the markup that is wrong, and say on a fold what it hides."""
    for wrong, right in MENDED.items():
        body = body.replace(wrong, right)
    body = ARGUMENTS.sub(lambda found: f'<span class="sig-lines">{in_lines(found[1])}</span>', body)
    return FOLD.sub(lambda found: found[0].replace("code cell content", FOLDED[found[1]]), body)


def in_lines(items: str) -> str:
    """Turn the items of a list into lines of running text, which the style sheet indents."""
    return items.replace("<dd>", "<span>").replace("</dd>", "</span>")


def mend_body(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Mend a page's text."""
    context["body"] = mended(context.get("body", ""))


def name_arrows(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Give the arrows in the sidebar, which unfold the pages below one, a name to be read out."""
    make = context.get("generate_toctree_html")
    if make:
        named = '<summary aria-label="Show or hide the pages below">'
        context["generate_toctree_html"] = lambda *given, **options: str(
            make(*given, **options)
        ).replace("<summary>", named)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks; scripts are dropped after all other extensions have added theirs."""
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("html-page-context", mend_body)
    app.connect("html-page-context", name_arrows, priority=900)
    app.connect("doctree-read", begin_with_code, priority=100)  # before the links are looked for
    # What links names in code reads each page and writes it again, and makes one space of several
    # that stand alone in an element: the indentation of annotated source.
    HTMLTreeBuilder.DEFAULT_PRESERVE_WHITESPACE_TAGS |= {"code"}
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
