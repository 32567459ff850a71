"""One letter means one thing: in the book's shapes, in the package's, and when a chapter runs."""

import re
from collections.abc import Iterator

import pytest
from nbformat.v4 import new_code_cell

from _tools import chapters, running
from repository import ROOT, text_of

PAGE = chapters.REFERENCE / "notation.md"
#: A shape as text: sizes in brackets, with commas.
BRACKETS = re.compile(r"\(([^()\n]*,[^()\n]*)\)")
SIZE = re.compile(r"[\w\N{MULTIPLICATION SIGN}\N{MINUS SIGN}²/*+. -]*")
LETTER = re.compile(r"(?<![A-Za-z_0-9])\d*([A-Za-z])(?![A-Za-z_])")
#: A line that says the shape of what it makes, outside of functions.
SAID = re.compile(r"^(?P<name>\w+) = .*  # \((?P<sizes>[^()]*)\)(?:[.,:;].*)?$", re.MULTILINE)


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


#: Runs in the kernel, after each cell.
HOOK = '''
import re
SAID = re.compile({pattern!r}, re.MULTILINE)
WRONG = []

def shapes_are_as_said(result):
    """Compare the shapes that a cell says with those of what it made."""
    cell = result.info.raw_cell or ""
    for said in SAID.finditer(cell):
        if re.search(rf"^ *{{said['name']}}\\b.* = ", cell[said.end():], re.MULTILINE):
            continue  # it means something else at the end of the cell
        value = get_ipython().user_ns.get(said["name"])
        sizes = [size.strip() for size in said["sizes"].split(",") if size.strip()]
        if not hasattr(value, "shape"):
            continue
        line = (said[0].strip(), tuple(value.shape))
        if len(sizes) != len(value.shape):
            WRONG.append(line)
            continue
        known = {{}}
        for size, number in zip(sizes, value.shape):
            if known.setdefault(size, number) != number or size.isdigit() and int(size) != number:
                WRONG.append(line)
            if size == "N" and round(number**0.5) ** 2 != number:
                WRONG.append(line)  # patches make a square

get_ipython().events.register("post_run_cell", shapes_are_as_said)
'''


@pytest.mark.slow
def test_shapes_are_what_the_chapters_say():
    books = {path.stem: chapters.read(path) for path in chapters.chapters()}
    for book in books.values():
        book.cells.insert(0, new_code_cell(HOOK.format(pattern=SAID.pattern)))
        book.cells.append(new_code_cell("assert not WRONG, WRONG"))
    code, passed = running.run(books)
    assert (code, set(passed)) == (0, set(books))
