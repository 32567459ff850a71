"""One letter means one thing: in the book's shapes, in the package's, and when a chapter runs."""

import re
from collections.abc import Iterator

import pytest

from _tools import chapters
from repository import ROOT, text_of

PAGE = chapters.REFERENCE / "notation.md"
#: A shape as text: sizes in brackets, with commas.
BRACKETS = re.compile(r"\(([^()\n]*,[^()\n]*)\)")
SIZE = re.compile(r"[\w\N{MULTIPLICATION SIGN}\N{MINUS SIGN}²/*+. -]*")
LETTER = re.compile(r"(?<![A-Za-z_0-9])\d*([A-Za-z])(?![A-Za-z_])")


def known() -> set[str]:
    """The letters of the notation page's first table."""
    table = text_of(PAGE).split("## Letters")[1].split("\n## ")[0]
    return set(re.findall(r"^\| (\w) \|", table, flags=re.MULTILINE))


def shape_letters(text: str) -> Iterator[tuple[str, str]]:
    """Each shape in a text with capital letters for sizes, and each of its letters."""
    for shape in BRACKETS.finditer(text):
        letters = LETTER.findall(shape[1])
        # What stands between the commas of a sentence in brackets has more words.
        sizes = all(SIZE.fullmatch(s) and s.count(" ") < 4 for s in shape[1].split(","))
        if sizes and any(letter.isupper() for letter in letters):
            yield from ((shape[0], letter) for letter in letters)


PAGES = [*chapters.notebooks(), ROOT / "book" / "index.md"]
MODULES = sorted((ROOT / "clipnotes").rglob("*.py"))
each = pytest.mark.parametrize("path", [*PAGES, *MODULES], ids=lambda path: path.stem)


def test_the_page_has_the_letters():
    assert {"B", "T", "C", "M", "N", "L", "D", "H", "P"} <= known()


def comments_and_prose(path) -> str:
    """What people read as text: prose, docstrings, comments; code calls functions in capitals."""
    text = text_of(path)
    if path.suffix == ".py":
        strings = re.findall(r'"""(.*?)"""', text, flags=re.DOTALL)
        return "\n".join([*strings, *re.findall(r"#.*", text)])
    code = "\n".join(block.code for block in chapters.blocks(text))
    return "\n".join([chapters.prose(text), *re.findall(r"#.*", code)])


@each
def test_shapes_use_no_other_letter(path):
    found = [(shape, x) for shape, x in shape_letters(comments_and_prose(path)) if x not in known()]
    assert found == [], "see book/reference/notation.md"


def test_a_letter_that_nobody_knows_is_found():
    text = "(B, Q, D), (n_classes, D), (3, D / H), (2N, 4D), (a, b), f(Q, x_1)"
    assert [x for _, x in shape_letters(text) if x not in known()] == ["Q", "Q"]
