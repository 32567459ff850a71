"""Sphinx extension: in each chapter, the first use of a word of the glossary leads there.

Only running text counts, no heading, link or code. Chapters need no markup for it.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

from _tools.chapters import REFERENCE

GLOSSARY = REFERENCE / "glossary.md"
CHAPTERS = "book/chapters/"
#: Where a word is no running text, or already means something.
ELSEWHERE = (nodes.literal, nodes.math, nodes.reference, nodes.title, pending_xref)


def entries(text: str) -> list[list[str]]:
    """Read the words of each entry: what stands at the start of a line inside the directive."""
    found = re.search(r"^```\{glossary\}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError("the glossary's page has no ```{glossary} block")
    groups = re.findall(r"^((?:\S.*\n)+)(?=[ ])", found[1], flags=re.MULTILINE)
    return [group.splitlines() for group in groups]


def pattern(words: list[str]) -> re.Pattern[str]:
    """Match any of these words as a whole, in the singular or plural, the longest first."""
    longest_first = sorted(words, key=len, reverse=True)
    choices = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in longest_first)
    return re.compile(rf"(?<![\w-])({choices})(?:e?s)?(?![\w-])", flags=re.IGNORECASE)


def link(doctree: nodes.Node, page: str, glossary: list[list[str]]) -> list[str]:
    """Turn the first use of each entry into a reference; return the words that were used."""
    join_lines(doctree)
    left = {word.lower(): group for group in glossary for word in group}
    used = []
    for text in list(doctree.findall(nodes.Text)):
        if not within_prose(text) or text.parent is None:
            continue
        rest, parts = str(text), []
        while left and (match := pattern(list(left)).search(rest)):
            group = left[" ".join(match[1].lower().split())]
            parts += [nodes.Text(rest[: match.start()]), reference(group[0], match[0], page)]
            rest = rest[match.end() :]
            used.append(group[0])
            for word in group:
                del left[word.lower()]
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(rest)])
    return used


def join_lines(doctree: nodes.Node) -> None:
    """Make one piece of text of those that follow each other: MyST gives a piece a line."""
    for text in list(doctree.findall(nodes.Text)):
        above = text.parent
        if above is None or isinstance(above, nodes.FixedTextElement):
            continue
        at = above.index(text)
        if at and isinstance(above[at - 1], nodes.Text):
            above[at - 1 : at + 1] = [nodes.Text(str(above[at - 1]) + str(text))]


def within_prose(text: nodes.Text) -> bool:
    """Say whether a piece of text stands in a paragraph, outside code, links and headings."""
    above: Any = text.parent
    in_paragraph = False
    while above is not None:
        if isinstance(above, ELSEWHERE):
            return False
        in_paragraph = in_paragraph or isinstance(above, nodes.paragraph)
        above = above.parent
    return in_paragraph


def reference(word: str, said: str, page: str) -> pending_xref:
    """Make a reference to an entry, which reads as the chapter wrote it."""
    inside = nodes.inline("", said, classes=["xref", "std", "std-term"])
    target = {"refdomain": "std", "reftype": "term", "reftarget": word, "refdoc": page}
    return pending_xref("", inside, refexplicit=True, refwarn=True, **target)


def on_read(app: Sphinx, doctree: nodes.document) -> None:
    """Link the words of a chapter that was read."""
    page = app.env.docname
    if page.startswith(CHAPTERS):
        app.env.note_dependency(str(GLOSSARY))
        link(doctree, page, entries(GLOSSARY.read_text(encoding="utf-8")))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hook."""
    app.connect("doctree-read", on_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
