"""The glossary, and the links to it from the first use of each word in each chapter."""

import re

import docutils.core
import pytest
from docutils import nodes
from myst_parser.parsers.docutils_ import Parser

from _ext import glossary_links
from _tools import chapters
from repository import ROOT

GLOSSARY = (ROOT / "book" / "reference" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = glossary_links.entries(GLOSSARY)


def prose(path):
    return chapters.prose(path.read_text(encoding="utf-8"))


def tree(markdown):
    settings = {
        "report_level": 5,
        "halt_level": 5,
        "myst_enable_extensions": ["dollarmath", "colon_fence"],
    }
    return docutils.core.publish_doctree(markdown, parser=Parser(), settings_overrides=settings)


def links(markdown, entries):
    """What the words of the entries became: (words as written, entry), and the text around."""
    doctree = tree(markdown)
    glossary_links.link(doctree, "book/chapters/01-a", entries)
    found = list(doctree.findall(lambda node: isinstance(node, nodes.Element)))
    made = [node for node in found if node.get("reftype") == "term"]
    return [(node.astext(), node["reftarget"]) for node in made], doctree.astext()


SOME = [["patch"], ["residual stream"], ["class token", "CLS token"]]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("A patch, and another patch.", [("patch", "patch")]),
        ("Patches are square.", [("Patches", "patch")]),
        ("# A patch\n\nNo `patch`, no [patch](https://x.org), no $patch$.", []),
        ("```\npatch\n```\n\nThe *patch* after it.", [("patch", "patch")]),
        ("A pre-patch, a patch-work, despatch, patchy.", []),
        ("- the residual\n  stream\n- and more", [("residual\nstream", "residual stream")]),
        ("The CLS token, that is, the class token.", [("CLS token", "class token")]),
        ("Of a class a token.", []),
    ],
)
def test_the_first_use_becomes_a_link(markdown, expected):
    found, text = links(markdown, SOME)
    assert found == expected
    assert text == tree(markdown).astext(), "the words themselves must not change"


def test_of_two_words_at_one_place_the_longer_one_counts():
    found, _ = links("The context per class and the context.", [["context"], ["context per class"]])
    assert [entry for _, entry in found] == ["context per class", "context"]


def test_every_entry_is_used_and_explained():
    assert len(ENTRIES) >= 30
    words = [word.lower() for group in ENTRIES for word in group]
    assert len(words) == len(set(words))
    used = set()
    for chapter in chapters.chapters():
        doctree = tree(prose(chapter))
        here = glossary_links.link(doctree, chapter.stem, ENTRIES)
        assert len(here) == len(set(here))
        used |= set(here)
    assert [group[0] for group in ENTRIES if group[0] not in used] == []


@pytest.mark.parametrize("group", ENTRIES, ids=lambda group: group[0])
def test_the_chapter_that_an_entry_names_speaks_of_it(group):
    said = GLOSSARY.split("\n" + "\n".join(group) + "\n", 1)[1].split("\n\n")[0]
    number, address = re.search(r"\[Chapter (\d+)\]\((\S+)\)$", said.rstrip("`\n")).groups()
    chapter = (ROOT / "book" / "reference" / address).resolve()
    assert chapter.name.startswith(f"{int(number):02d}-")
    assert glossary_links.pattern(group).search(prose(chapter)), f"{chapter.name} has no {group}"


def test_the_entries_are_in_order():
    firsts = [group[0].lower() for group in ENTRIES]
    assert firsts == sorted(firsts)


def test_a_page_without_a_glossary_is_an_error():
    with pytest.raises(ValueError, match="glossary"):
        glossary_links.entries("# Glossary\n")
