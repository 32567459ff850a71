"""Stubs are made from solutions, and tell nothing of them."""

import pytest

from _tools import stubs

SOLUTION = '''\
import math
from torch import (
    nn,
)

width = 7  # given
numbers = [
    1,
    2,
]  # given


# What it is about.
@staticmethod
def area(a: int, b=(1, 2)) -> int:
    """Say how large.

    With more to say.
    """
    c = a * b
    return c


def open(
    a,  # (B, L)
):
    # first this
    return a


answer = [
    math.pi,
]
print(answer)
if answer:
    answer = 2
assert answer
assert check("0.1", (area, answer))'''

STUB = '''\
import math
from torch import (
    nn,
)

width = 7  # given
numbers = [
    1,
    2,
]  # given


@staticmethod
def area(a: int, b=(1, 2)) -> int:
    """Say how large.

    With more to say.
    """
    ...  # your code


def open(
    a,  # (B, L)
):
    ...  # your code


answer = ...  # your answer
check("0.1", (area, answer))'''


def test_a_stub_keeps_heads_and_nothing_of_the_answer():
    assert stubs.stub(SOLUTION) == STUB


@pytest.mark.parametrize(
    ("solution", "said"),
    [
        ("a = 1", "nothing would be left"),
        ("a = 1\nb = 2", "the last statement is not"),
        ('a = 1\ncheck("0.1", a)', "the last statement is not"),
        ("a = 1\nassert a == 1", "the last statement is not"),
        ("a = 1\nassert self.check(a)", "the last statement is not"),
        ('assert check("0.1", 1)', "nothing would be left"),
        ('a = 1  # given\nassert check("0.1", a)', "nothing would be left"),
        ('class A: pass\na = 1\nassert check("0.1", a)', "ask for a function"),
        ('def f(): return 1\nassert check("0.1", f)', "on a line of its own"),
        ("", "nothing would be left"),
    ],
)
def test_a_solution_that_makes_no_stub_is_refused(solution, said):
    with pytest.raises(stubs.NoStub, match=said):
        stubs.stub(solution)


def cell(tags, code):
    return f"```{{code-cell}} ipython3\n:tags: [{tags}]\n\n{code}\n```\n"


@pytest.mark.parametrize("solution", ["hide-cell, solution", "hide-cell, solution, needs-chapter"])
@pytest.mark.parametrize("before", ["", cell("exercise", "old = 1") + "\n"])
def test_a_chapter_gets_the_stub_that_belongs_there(solution, before):
    folded = cell(solution, 'a = 1\nassert check("0.1", a)')
    other = cell("hide-cell", "assert a")
    stub = cell("exercise", 'a = ...  # your answer\ncheck("0.1", a)')
    text = f"**0.1** Say.\n\n{before}{folded}\nMore.\n\n{other}"
    wanted = f"**0.1** Say.\n\n{stub}\n{folded}\nMore.\n\n{other}"
    assert stubs.renew(text) == wanted
    assert stubs.renew(wanted) == wanted
    assert stubs.solutions(wanted) == ['a = 1\nassert check("0.1", a)']
