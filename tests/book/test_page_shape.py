"""A chapter asks no more of its reader than one sitting, and says how long that sitting is."""

import re

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from _tools import chapters, page_shape

QUESTIONS = "## Three questions"
NAMED = re.compile(r"^\*\*(\d+\.\d+)\*\*", re.MULTILINE)
each = pytest.mark.parametrize("chapter", chapters.chapters(), ids=lambda path: path.stem)


def prose(chapter):
    notebook = chapters.read(chapter)
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@each
def test_a_chapter_is_one_sitting(chapter):
    assert page_shape.complaints(chapters.read(chapter)) == []


@each
def test_what_only_imports_or_checks_is_folded(chapter):
    for cell in chapters.code_cells(chapters.read(chapter)):
        tags = set(chapters.tags(cell))
        if {"imports", "checked"} & tags:
            assert "hide-cell" in tags, cell.source
        if "checked" in tags:
            assert re.search(r"\bassert|\bcheck_", cell.source), cell.source


@each
def test_a_chapter_asks_three_questions_and_folds_the_answers(chapter):
    asked = prose(chapter).split(QUESTIONS)[1].split("\n## ")[0]
    assert re.findall(r"^(\d)\. ", asked, flags=re.MULTILINE) == ["1", "2", "3"]
    assert asked.count('<details class="fold"><summary>Answer</summary>') == 3
    assert asked.count("</details>") == 3


@each
def test_an_exercise_says_how_hard_and_how_long_it_is_and_has_a_hint(chapter):
    text = prose(chapter).split("\n## Exercises")[1]
    numbers = NAMED.findall(text)
    assert len(page_shape.EXERCISE.findall(text)) == len(numbers) >= 3
    for task in NAMED.split(text)[2::2]:
        assert task.count('<details class="fold"><summary>Hint</summary>') == 1, task


def test_a_page_that_asks_too_much_is_found():
    words = new_markdown_cell("word " * 1600)
    shown = [new_code_cell(f"print({i})") for i in range(20)]
    assert page_shape.complaints(new_notebook(cells=[words, *shown])) == []
    long = new_code_cell("print(1)\n" * 13)
    mixed = new_code_cell("assert 1 or not embedded")
    found = page_shape.complaints(
        new_notebook(cells=[words, new_markdown_cell(words.source), *shown[2:], long, mixed])
    )
    assert found == [
        "13 lines, 12 are allowed: 'print(1)'",
        "a check of the book's own model, not folded: 'assert 1 or not embedded'",
        "3200 words; 1500 to 2500 are allowed",
    ]
    for cell in [*shown[:4], long]:
        cell.metadata["tags"] = ["the-point"]
    found = page_shape.complaints(new_notebook(cells=[words, *shown, long]))
    assert found == ["5 cells tagged the-point; 0 to 3 are allowed"]
    for cell in shown[:5]:
        cell.metadata["tags"] = ["hide-cell"]
    found = page_shape.complaints(new_notebook(cells=[words, *shown]))
    assert found == ["15 visible cells; 20 to 30 are allowed"]


def test_a_cell_that_shows_nothing_is_found():
    said = new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")])
    dumb, folded = new_code_cell("x = 1"), new_code_cell("y = 1")
    folded.metadata["tags"] = ["hide-cell"]
    assert page_shape.silent(new_notebook(cells=[said, dumb, folded])) == [
        "a visible cell prints nothing: 'x = 1'"
    ]


def test_minutes_are_estimated_from_words_and_cells(tmp_path):
    page = tmp_path / "03-a.md"
    task = "**3.1** *Easy, 5 minutes.* Do it.\n\n**3.2** *Hard, 20 minutes.* Do more.\n\n"
    page.write_text(task + "word " * 1780, encoding="utf-8")
    assert page_shape.minutes(page) == (10, 25)
