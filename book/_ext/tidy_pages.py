"""Sphinx extension: take from each page what this book does not use, or what is wrong in it."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def drop_thebe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop thebe's scripts.

    Jupyter Book always loads sphinx-thebe, which puts its script on every page twice; the second
    load is an error in the reader's console. The book has no thebe button.
    """
    kept = [script for script in context.get("script_files", []) if "thebe" not in str(script)]
    context["script_files"] = kept


def begin_with_code(app: Sphinx, doctree: nodes.document) -> None:
    """Drop the empty lines that a block of code begins with.

    They do not show, but what is linked in a block is found again by its text.
    """
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


def mend_body(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Replace the markup that is wrong."""
    for wrong, right in MENDED.items():
        context["body"] = context.get("body", "").replace(wrong, right)


#: What unfolds a cell that holds the solution of an exercise.
SOLUTION = re.compile(
    r"(tag_solution[^>]*>\s*<details[^>]*>\s*<summary[^>]*>)(.*?)</summary>", re.S
)


def name_solutions(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Write on it that it is one."""

    def named(found: re.Match[str]) -> str:
        return found[1] + found[2].replace("code cell content", "a solution") + "</summary>"

    context["body"] = SOLUTION.sub(named, context.get("body", ""))


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
    app.connect("html-page-context", name_solutions)
    app.connect("html-page-context", name_arrows, priority=900)
    app.connect("doctree-read", begin_with_code, priority=100)  # before the links are looked for
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
