"""What a check is made of: exercises by their number, and sentences that help.

A check is a function that looks at an answer and stops at the first thing that is wrong with it:

    @exercise("3.1")
    def attend(answer: Callable[[Tensor], Tensor]) -> None:
        ...
        expect(condition, "a sentence that helps")

If it comes to its end, the answer is right. Its annotation says whether it wants a function.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

Check = Callable[[Any], None]

#: The checks that were imported so far, by number.
CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Mark:
    """What :func:`clipnotes.exercises.check` says about an answer. True if it passed.

    Attributes:
        number: the exercise's, such as "3.1".
        passed: whether the answer is right.
        message: what is wrong with it; empty if nothing is.

    Example:
        >>> Mark("3.1", False, "The rows do not sum to 1.")
        3.1: not yet. The rows do not sum to 1.
    """

    number: str
    passed: bool
    message: str = ""

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return (
            f"{self.number}: right." if self.passed else f"{self.number}: not yet. {self.message}"
        )


class NotYet(Exception):
    """Ends a check; its text becomes the mark's message."""


def exercise(number: str) -> Callable[[Check], Check]:
    """Register a check under the number of its exercise.

    Args:
        number: chapter and place, such as "3.1".

    Raises:
        ValueError: another check has this number.

    Example:
        >>> @exercise("0.1")
        ... def two(answer: int) -> None:
        ...     expect(answer == 2, "One and one is more than one and less than three.")
        >>> mark("0.1", 2), mark("0.1", 3)
        (0.1: right., 0.1: not yet. One and one is more than one and less than three.)
        >>> del CHECKS["0.1"]
    """
    if number in CHECKS:
        raise ValueError(f"there are two checks for exercise {number}; give one another number")

    def register(function: Check) -> Check:
        CHECKS[number] = function
        return function

    return register


def expect(condition: Any, sentence: str) -> None:
    """Go on if a condition holds; if not, end the check with a sentence that helps.

    Args:
        condition: anything with a truth value.
        sentence: says what is wrong without saying what is right.

    Raises:
        NotYet: the condition does not hold.

    Example:
        >>> expect(1 + 1 == 2, "Add again.")
    """
    if not condition:
        raise NotYet(sentence)


def expect_close(
    given: Any, wanted: Any, sentence: str, *, atol: float = 1e-5, rtol: float = 1e-5
) -> None:
    """Go on if a tensor, or a number, is what it should be up to rounding.

    Args:
        given: what the reader's answer gave.
        wanted: a tensor or a number; what is given must be of the same kind and shape.
        sentence: what to say if the kind and the shape are right and the values are not.
        atol: allowed difference.
        rtol: allowed difference as a share of the value.

    Raises:
        NotYet: they differ. The message says in what: kind, shape, or values and how far.

    Example:
        >>> expect_close(0.1 + 0.2, 0.3, "Add again.")
    """
    import torch

    if isinstance(wanted, torch.Tensor):
        kind = type(given).__name__
        expect(isinstance(given, torch.Tensor), f"A tensor is wanted, and this is a {kind}.")
        shapes = f"{tuple(given.shape)}, and {tuple(wanted.shape)} is wanted"
        expect(given.shape == wanted.shape, f"The shape is {shapes}.")
    else:
        a_number = isinstance(given, (int, float)) or (
            isinstance(given, torch.Tensor) and given.numel() == 1
        )
        expect(a_number, f"A number is wanted, and this is a {type(given).__name__}.")
    ours = torch.as_tensor(given).detach().double()
    theirs = torch.as_tensor(wanted).detach().double()
    expect(not ours.isnan().any(), "There is a NaN in it.")
    if not torch.allclose(ours.reshape(theirs.shape), theirs, atol=atol, rtol=rtol):
        off = (ours.reshape(theirs.shape) - theirs).abs().max().item()
        raise NotYet(f"{sentence} The largest difference is {off:.2g}.")


def is_close(given: Any, wanted: Any, *, atol: float = 1e-5) -> bool:
    """Say whether an answer is a tensor of a certain value: to recognise a likely mistake.

    Args:
        given: what the reader's answer gave.
        wanted: a tensor.
        atol: allowed difference.

    Example:
        >>> import torch
        >>> is_close(torch.ones(2), torch.ones(2)), is_close(torch.ones(3), torch.ones(2))
        (True, False)
    """
    try:
        expect_close(given, wanted, "", atol=atol)
    except NotYet:
        return False
    return True


def expect_not(given: Any, wrong: Any, sentence: str) -> None:
    """End the check if an answer is what a likely mistake gives.

    Args:
        given: what the reader's answer gave.
        wrong: a tensor: what the mistake gives.
        sentence: what the mistake is.

    Raises:
        NotYet: they are the same up to rounding.

    Example:
        >>> import torch
        >>> expect_not(torch.ones(2), torch.zeros(2), "You forgot to add one.")
    """
    expect(not is_close(given, wrong), sentence)


def mark(number: str, answer: Any) -> Mark:
    """Judge an answer by the check of its number. Nothing that an answer does raises an error here.

    Random numbers begin at the same seed each time, and those of the reader go on undisturbed.

    Args:
        number: of a check that is registered.
        answer: the reader's: a value or a function.

    Example:
        >>> mark("0.1", 2)
        Traceback (most recent call last):
        KeyError: '0.1'
    """
    judge = CHECKS[number]
    import torch

    try:
        expect_something(answer)
        wants = get_type_hints(judge)["answer"]
        ready = function_that(answer) if get_origin(wants) is Callable else plain(answer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            judge(ready)
    except NotYet as said:
        return Mark(number, False, str(said))
    except Exception as error:  # the check did not foresee an answer like this one
        return Mark(
            number,
            False,
            f"The check cannot use {describe(answer)} as an answer: {name_of(error)}",
        )
    return Mark(number, True)


def expect_something(answer: Any) -> None:
    """End the check if the answer, or a part of it, is still the stub's three dots."""
    parts = [*answer] if isinstance(answer, (tuple, list)) else [answer]
    parts = [*answer.values()] if isinstance(answer, dict) else parts
    expect(
        all(part is not ... and part is not None for part in parts),
        "There is no answer: put yours in the place of the three dots.",
    )


def plain(answer: Any) -> Any:
    """Return an answer that is to be a value; a function is none."""
    expect(not inspect.isroutine(answer), "A value is wanted, and this is a function: call it.")
    return answer


def function_that(answer: Any) -> Callable[..., Any]:
    """Return the reader's function so that what it does wrong becomes a sentence."""
    expect(
        callable(answer),
        f"A function is wanted, and this is {describe(answer)}. Give the function itself: "
        "its name, without brackets after it.",
    )

    @functools.wraps(answer)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        import torch

        given = [*args, *kwargs.values()]
        inputs = ", ".join(map(describe, given)) or "nothing"
        before = [one.detach().clone() if isinstance(one, torch.Tensor) else None for one in given]
        try:
            result = answer(*args, **kwargs)
        except Exception as error:
            raise NotYet(f"Given {inputs}, your function raised {name_of(error)}") from error
        expect(
            result is not None and result is not ...,
            "There is no answer: your function returns nothing. Write it, down to a `return`.",
        )
        for one, copy in zip(given, before, strict=True):
            expect(
                copy is None or torch.equal(one, copy),
                "Your function changes the tensor that it was given. Whoever gave it may still "
                "need it: make a new one.",
            )
        return result

    return guarded


def describe(given: Any) -> str:
    """Say in a few words what something is: of a tensor its shape, of others the kind or value."""
    import torch

    if isinstance(given, torch.Tensor):
        return f"a tensor of shape {tuple(given.shape)}"
    if isinstance(given, (bool, int, float, str)):
        return repr(given) if len(repr(given)) <= 40 else f"a {type(given).__name__}"
    return f"a {type(given).__name__}"


def name_of(error: Exception) -> str:
    """Return an error as one line, as a traceback ends with it."""
    said = str(error).splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else f"{type(error).__name__}."
