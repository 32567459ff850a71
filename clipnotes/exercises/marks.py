"""The tools that the checks of the exercises are written with.

A check is a function that looks at an answer and stops at the first thing that is wrong with it:

    @exercise("3.1")
    def attend(answer: Callable[[Tensor], Tensor]) -> None:
        ...
        expect(condition, "a sentence that helps")

If the check reaches its end, the answer is right. The annotation says whether the answer should be
a function or a value.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

Check = Callable[[Any], None]

#: The checks of the chapters that were imported so far, by number.
CHECKS: dict[str, Check] = {}


@dataclass(frozen=True)
class Mark:
    """The verdict of :func:`clipnotes.exercises.check` on an answer. It is true if it passed.

    Attributes:
        number: the number of the exercise, such as "3.1".
        passed: whether the answer is right.
        message: what is wrong with the answer; empty if it is right.

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
    """Raised to end a check. Its text becomes the message of the mark."""


def exercise(number: str) -> Callable[[Check], Check]:
    """Register a check under the number of its exercise, such as "3.1"."""
    if number in CHECKS:
        raise ValueError(f"there are two checks for exercise {number}; give one another number")

    def register(function: Check) -> Check:
        CHECKS[number] = function
        return function

    return register


def expect(condition: Any, sentence: str) -> None:
    """Go on if the condition holds; if not, end the check with this sentence."""
    if not condition:
        raise NotYet(sentence)


def expect_close(
    result: Any, wanted: Any, sentence: str, *, atol: float = 1e-5, rtol: float = 1e-5
) -> None:
    """End the check unless a result has the wanted kind, shape and, up to rounding, values."""
    import torch

    if isinstance(wanted, torch.Tensor):
        kind = type(result).__name__
        expect(isinstance(result, torch.Tensor), f"A tensor is wanted, and this is a {kind}.")
        shapes = f"{tuple(result.shape)}, and {tuple(wanted.shape)} is wanted"
        expect(result.shape == wanted.shape, f"The shape is {shapes}.")
    else:
        a_number = isinstance(result, (int, float)) or (
            isinstance(result, torch.Tensor) and result.numel() == 1
        )
        expect(a_number, f"A number is wanted, and this is a {type(result).__name__}.")
    ours = torch.as_tensor(result).detach().double()
    theirs = torch.as_tensor(wanted).detach().double()
    expect(not ours.isnan().any(), "There is a NaN in it.")
    if not torch.allclose(ours.reshape(theirs.shape), theirs, atol=atol, rtol=rtol):
        off = (ours.reshape(theirs.shape) - theirs).abs().max().item()
        raise NotYet(f"{sentence} The largest difference is {off:.2g}.")


def is_close(result: Any, wanted: Any, *, atol: float = 1e-5) -> bool:
    """Say whether a result is this tensor, to recognise a likely mistake."""
    try:
        expect_close(result, wanted, "", atol=atol)
    except NotYet:
        return False
    return True


def expect_not(result: Any, wrong: Any, sentence: str) -> None:
    """End the check with this sentence if the result is what a likely mistake gives."""
    expect(not is_close(result, wrong), sentence)


def mark(number: str, answer: Any) -> Mark:
    """Judge an answer by the check of its number; whatever the answer does becomes a mark."""
    judge = CHECKS[number]
    import torch

    try:
        expect_something(answer)
        wants = get_type_hints(judge)["answer"]
        ready = function_that(answer) if get_origin(wants) is Callable else plain(answer)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            judge(ready)
    except NotYet as reason:
        return Mark(number, False, str(reason))
    except Exception as error:  # an answer of a kind that the check did not foresee
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
    """Return an answer that should be a value, and refuse a function."""
    expect(not inspect.isroutine(answer), "A value is wanted, and this is a function: call it.")
    return answer


def function_that(answer: Any) -> Callable[..., Any]:
    """Wrap the reader's function so that its errors become sentences."""
    expect(
        callable(answer),
        f"A function is wanted, and this is {describe(answer)}. Give the function itself: "
        "its name, without brackets after it.",
    )

    @functools.wraps(answer)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        import torch

        arguments = [*args, *kwargs.values()]
        inputs = ", ".join(map(describe, arguments)) or "nothing"
        before = [
            argument.detach().clone() if isinstance(argument, torch.Tensor) else None
            for argument in arguments
        ]
        try:
            result = answer(*args, **kwargs)
        except Exception as error:
            raise NotYet(f"Given {inputs}, your function raised {name_of(error)}") from error
        expect(
            result is not None and result is not ...,
            "There is no answer: your function returns nothing. Write it, down to a `return`.",
        )
        for argument, copy in zip(arguments, before, strict=True):
            expect(
                copy is None or torch.equal(argument, copy),
                "Your function changes the tensor that it was given. Whoever gave it may still "
                "need it: make a new one.",
            )
        return result

    return guarded


def describe(thing: Any) -> str:
    """Say in a few words what a thing is: a tensor's shape, a short value, or else its class."""
    import torch

    if isinstance(thing, torch.Tensor):
        return f"a tensor of shape {tuple(thing.shape)}"
    if isinstance(thing, (bool, int, float, str)):
        return repr(thing) if len(repr(thing)) <= 40 else f"a {type(thing).__name__}"
    return f"a {type(thing).__name__}"


def name_of(error: Exception) -> str:
    """Write an error on one line, as a traceback ends with it."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else f"{type(error).__name__}."
