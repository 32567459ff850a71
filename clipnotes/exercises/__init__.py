"""The book's exercises mark themselves.

Importing this package is light: the checks of a chapter are imported when you use one of them.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from clipnotes.exercises.marks import CHECKS, Mark, mark

__all__ = ["Mark", "check"]


def check(number: str, answer: Any) -> Mark:
    """Say whether the answer to an exercise is right, and if not, what is wrong with it.

    A check tries the answer on inputs of its own and looks at the results, so every way to solve
    the exercise is accepted.

    Args:
        number: the exercise's number in the book, such as "3.1".
        answer: what the exercise asks for: a function or a value.

    Returns:
        A mark, which a notebook shows as a sentence, and which is true if the answer is right. If
        the answer raises an error, that becomes a mark too.

    Raises:
        ValueError: the book has no exercise of this number.

    Example:
        >>> check("3.1", ...)
        3.1: not yet. There is no answer: put yours in the place of the three dots.
    """
    number = str(number)
    chapter = number.partition(".")[0]
    module = f"{__name__}.chapter_{int(chapter):02}" if chapter.isdecimal() else ""
    if not module or not find_spec(module):
        raise ValueError(
            f"there is no exercise {number!r}; an exercise is named by its chapter and its place, "
            "as in check('3.1', answer)"
        )
    import_module(module)
    if number not in CHECKS:
        known = ", ".join(repr(name) for name in CHECKS if name.partition(".")[0] == chapter)
        raise ValueError(f"there is no exercise {number!r}; chapter {chapter} has {known}")
    return mark(number, answer)
