"""The page about versions: it is what was recorded, and prose names no other version."""

import re

import pytest

from _tools import chapters
from _tools.versions import groups, page
from clipnotes.compat import recorded
from repository import ROOT, text_of


def test_the_page_is_what_was_recorded():
    assert page.main(["--check"]) == 0, "run `make sync`"


def test_a_fact_that_nobody_recorded_is_an_error():
    group = groups.Group("A", "B", (("C", ("layout", "nothing")),))
    with pytest.raises(KeyError, match="nothing is recorded at layout/nothing"):
        page.section(group, recorded())


def test_differences_are_in_the_table_and_the_rest_below_it():
    group = groups.Group("A", "B", (("C", ("c",)), ("`{}`", ("d",))))
    section = page.section(group, {"1": {"c": True, "d": {"e": 1}}, "2": {"c": True, "d": {}}})
    assert section.splitlines()[4:] == [
        "| | 1 | 2 |",
        "|---|---|---|",
        "| `e` | `1` | - |",
        "",
        "The same in all of them:",
        "",
        "- C: yes",
    ]


def test_long_answers_get_a_line_each():
    group = groups.Group("A", "B", (("C", ("c",)),))
    long = "an answer of some length"
    section = page.section(group, {"1": {"c": long}, "2": {"c": long}, "3": {"c": "other"}})
    assert section.splitlines()[4:] == [
        "- C",
        f"  - 1, 2: `{long}`",
        "  - 3: `other`",
    ]


CLAIM = re.compile(
    r"\b(?:transformers|since|until|in|to|from|and|or|before|after|than|of|up to|today's)"
    r"\s+v?(4\.\d\d|5\.\d{1,2})(?:\.\d+)?(?![\w.]*\d|\s*(?:s|x|MB|MiB|%|GB|seconds|times)\b)"
)


def claims(text):
    return set(CLAIM.findall(text))


def test_prose_speaks_of_recorded_versions_only():
    known = {".".join(version.split(".")[:2]) for version in recorded()}
    pages = [*chapters.notebooks(), *(ROOT / "book").rglob("*.md"), ROOT / "README.md"]
    pages += (ROOT / "clipnotes").rglob("*.py")
    said = {path.name: claims(text_of(path)) for path in pages}
    assert set().union(*said.values()) == known  # so the search finds something
    assert {name: found - known for name, found in said.items() if found - known} == {}
    assert claims("gone since 5.6, in 4.43 and 4.51.3; 4.30 s") == {"5.6", "4.43", "4.51"}
    assert not any(claims(group.text) for group in groups.GROUPS), "the tables say which"
