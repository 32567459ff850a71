"""The exercises of the book: every solution is right, every stub is not, and mistakes are named."""

import ast
import re
import subprocess
import sys
from functools import cache
from importlib import import_module

import pytest

import wrong_answers_01_02
import wrong_answers_03
import wrong_answers_04_06
import wrong_answers_07_09
import wrong_answers_10_13
import wrong_answers_14
import wrong_answers_15
import wrong_answers_16
from _tools import chapters, stubs
from _tools.chapters import tags
from clipnotes.exercises import check
from clipnotes.exercises.marks import CHECKS
from repository import ROOT

CHAPTERS = {path.stem[:2]: path for path in chapters.chapters()}
WRONG = [
    *wrong_answers_01_02.WRONG,
    *wrong_answers_03.WRONG,
    *wrong_answers_04_06.WRONG,
    *wrong_answers_07_09.WRONG,
    *wrong_answers_10_13.WRONG,
    *wrong_answers_14.WRONG,
    *wrong_answers_15.WRONG,
    *wrong_answers_16.WRONG,
]
NAMED = re.compile(r"^\*\*(\d+\.\d+)\*\*")
ASKED = re.compile(r'^assert check\("(\d+\.\d+)"', flags=re.MULTILINE)


@cache
def cells(chapter):
    return chapters.read(CHAPTERS[chapter]).cells


def exercises():
    """Each exercise of the book: its chapter, its number, and the code of its solution's cell."""
    for chapter in CHAPTERS:
        for cell in cells(chapter):
            if "solution" in tags(cell):
                number = ASKED.search(cell.source)
                yield chapter, number and number[1], cell


EXERCISES = list(exercises())
every_exercise = pytest.mark.parametrize(
    ("chapter", "number", "solution"), EXERCISES, ids=[number for _, number, _ in EXERCISES]
)


def imported(chapter):
    """The names that a chapter imports: what a reader has who ran its first cells only."""
    names = {}
    for cell in cells(chapter):
        if cell.cell_type == "code" and "skip-execution" not in tags(cell):
            for node in ast.parse(cell.source).body:
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    exec(ast.unparse(node), names)
    return names


def run(source, names):
    """Run a cell; return the value of its last line, as a notebook would show it."""
    *body, last = ast.parse(source).body
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    value = last.test if isinstance(last, ast.Assert) else last.value
    return eval(compile(ast.Expression(value), "cell", "eval"), names)


# The chapters


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_three_to_five_exercises_in_order(chapter):
    numbers = [number for where, number, _ in EXERCISES if where == chapter]
    assert 3 <= len(numbers) <= 5
    assert numbers == [f"{int(chapter)}.{place}" for place in range(1, len(numbers) + 1)]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_an_exercise_is_a_task_a_stub_and_a_solution(chapter):
    found = cells(chapter)
    for i, cell in enumerate(found):
        if not {"exercise", "solution"} & set(tags(cell)):
            continue
        if "exercise" in tags(cell):
            assert tags(cell) == ["exercise"]
            assert "solution" in tags(found[i + 1]), "run `make sync`, and see CONTRIBUTING.md"
            continue
        number = ASKED.search(cell.source)[1]
        assert tags(cell)[:2] == ["hide-cell", "solution"], "a solution is folded"
        assert tags(found[i - 1]) == ["exercise"], "run `make sync`, and see CONTRIBUTING.md"
        assert found[i - 2].cell_type == "markdown"
        tasks = re.split(r"\n(?=\*\*\d)", found[i - 2].source)
        assert NAMED.search(tasks[-1])[1] == number, "the task stands above with its number"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_stubs_are_made_from_their_solutions(chapter):
    text = CHAPTERS[chapter].read_text(encoding="utf-8")
    assert text == stubs.renew(text), "run `make sync`"
    marked = [cell.source for cell in cells(chapter) if "solution" in tags(cell)]
    assert stubs.solutions(text) == marked, "a solution's tags are [hide-cell, solution]"


def test_a_chapter_s_names_are_left_alone():
    """A stub sets names to three dots. The cells above and below must not mean something else."""
    for chapter in CHAPTERS:
        usual, asked = set(), set()
        for cell in cells(chapter):
            if cell.cell_type != "code" or "skip-execution" in tags(cell):
                continue
            into = asked if "solution" in tags(cell) else usual
            if "exercise" not in tags(cell):
                for node in ast.walk(ast.parse(cell.source)):
                    if isinstance(node, ast.FunctionDef):
                        into.add(node.name)
                    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        into.add(node.id)
        given = {
            name
            for _, _, cell in (one for one in EXERCISES if one[0] == chapter)
            for name in stubbed(stubs.stub(cell.source))
        }
        assert not given & usual, f"chapter {chapter}"


def stubbed(source):
    """The names that a stub sets to three dots, or to an empty function."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield node.targets[0].id


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_exercise_has_a_check_and_every_check_an_exercise(chapter):
    asked = {number for where, number, _ in EXERCISES if where == chapter}
    module = f"chapter_{chapter}"
    if (ROOT / "clipnotes" / "exercises" / f"{module}.py").exists():
        import_module(f"clipnotes.exercises.{module}")
    assert {name for name in CHECKS if name.split(".")[0] == str(int(chapter))} == asked


# The answers


@every_exercise
def test_a_stub_is_not_right_and_says_so(chapter, number, solution):
    said = run(stubs.stub(solution.source), imported(chapter))
    assert (said.number, said.passed) == (number, False)
    assert "There is no answer" in said.message


@every_exercise
def test_a_solution_is_right(chapter, number, solution):
    names = imported(chapter)
    if "needs-chapter" in tags(solution):
        with pytest.raises(NameError):  # else it needs nothing: take the tag away
            run(solution.source, names)
        return  # it runs with its chapter
    said = run(solution.source, names)
    assert said, said
    assert (said.number, said.message) == (number, "")
    assert repr(said) == f"{number}: right."


@pytest.mark.parametrize(("number", "answer", "part"), WRONG)
def test_a_mistake_is_named(number, answer, part):
    said = check(number, answer)
    assert not said
    assert part in said.message
    assert repr(said) == f"{number}: not yet. {said.message}"
    (solution,) = (cell.source for _, name, cell in EXERCISES if name == number)
    for line in solution.splitlines():
        code = line.strip().removeprefix("return ")
        assert len(code) < 12 or code not in said.message, "the message gives the answer away"


def test_every_exercise_has_a_wrong_answer():
    assert {number for number, _, _ in WRONG} == {number for _, number, _ in EXERCISES}


def test_importing_the_exercises_is_light():
    heavy = "import sys, clipnotes.exercises as e; print('torch' in sys.modules, e.check)"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        ("3.99", r"there is no exercise '3.99'; chapter 3 has '3\.1'"),
        ("99.1", "there is no exercise '99.1'; an exercise is named by its chapter and its place"),
        ("attend", "there is no exercise 'attend'"),
        ("", "there is no exercise ''"),
        (None, "there is no exercise 'None'"),
    ],
)
def test_an_unknown_number_is_refused(number, said):
    with pytest.raises(ValueError, match=said):
        check(number, 1)
