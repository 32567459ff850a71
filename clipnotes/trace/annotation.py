"""Run a module once and annotate the source of what ran."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any

from torch import nn

from clipnotes.compat.attention import attention_functions
from clipnotes.trace.describe import forward_function
from clipnotes.trace.follow import LATER, Follower, following
from clipnotes.trace.inside import Builder
from clipnotes.trace.letters import check_names
from clipnotes.trace.notes import Notes
from clipnotes.trace.record import check_runs
from clipnotes.trace.remarks import Remarks, attach, check_remarks
from clipnotes.trace.statements import UNREADABLE, Source, source_lines


def annotate(
    module: nn.Module | Callable[..., Any],
    /,
    *args: Any,
    names: Mapping[str, int] | None = None,
    deep: bool = False,
    functions: Iterable[Callable[..., Any]] = (),
    notes: Remarks | None = None,
    **kwargs: Any,
) -> Notes:
    """Run a module once, and return the source of its ``forward`` with notes beside it.

    Beside each statement stands what it made: shapes, the dtype where it changes, small values as
    they are, which tensors it wrote into, what shares memory with what, which way a branch went,
    how often a loop ran (its first round is shown), and what is returned. What did not run is
    marked. The module computes what it always computes; only these functions are watched, and
    a debugger or coverage that watches, too, goes on to see everything.

    Two statements on one line are one statement here. What runs in other threads is not seen, and
    in ``torch.inference_mode`` torch does not count writes, so none are shown.

    Args:
        module: A module, or a function that is written in Python.
        *args: Passed to it.
        names: Letters for sizes, such as ``{"B": 2, "L": 65}``. Those that the module's
            configuration and its first argument tell (``B``, ``D``, ``L``, ...) come after them.
            ``B`` stands for first sizes only.
        deep: Annotate also what it calls, down to the bottom: the ``forward`` of each module in it,
            the functions written in the same files, and transformers' attention function. Layers
            that ran alike have their notes once.
        functions: More functions to annotate where it leads to them, with ``deep=True``: one that
            builds a mask, say.
        notes: Your own remarks: title of a function -> beginning of a statement -> remark. Where
            several statements begin so, a list has a remark for each. ``"def"`` begins the head.
        **kwargs: Passed to it.

    Returns:
        The :class:`clipnotes.trace.Notes`. If the call raises, the error has them as its attribute
        ``notes``, up to where it happened.

    Raises:
        TypeError: ``module`` is neither, or does not take these arguments; or ``names``,
            ``functions`` or ``notes`` are of another form than this.
        ValueError: It is compiled, has no source in Python, or is a generator; two letters have one
            size; or a remark belongs to no statement, so that you notice when a version has moved
            the line.
        RuntimeError: What wraps the ``forward`` did not call it.

    Example:
        >>> import clipnotes, torch
        >>> mlp = clipnotes.load().model.vision_model.encoder.layers[0].mlp
        >>> notes = annotate(mlp, torch.randn(2, 65, 128), names={"B": 2, "L": 65})
        >>> print(notes)
        CLIPMLP.forward  ...
        B = 2, L = 65, D = 128
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:  hidden_states (B, L, D) ...
            hidden_states = self.fc1(hidden_states)                      (B, L, 512)
            hidden_states = self.activation_fn(hidden_states)            (B, L, 512)
            hidden_states = self.fc2(hidden_states)                      (B, L, D)
            return hidden_states                                         (B, L, D)
    """
    if isinstance(module, nn.Module):
        check_runs(module, args, kwargs, "annotate")
        function = forward_function(module)
        title = f"{type(module).__name__}.forward"
    else:
        function = _plain_function(module)
        title = function.__qualname__.split("<locals>.")[-1]
    check_remarks(notes or {})
    check_names(names)
    more = _more(functions)
    if more and not deep:
        raise ValueError(
            "functions are looked for inside of what is annotated: give deep=True, too"
        )
    code = _code(function, title)
    source = _source(code, title)
    follower = Follower(code, source, *(_below(module, function, more) if deep else ()))
    builder = Builder(module, names)
    try:
        with following(follower):
            output = module(*args, **kwargs)
    except BaseException as error:
        if follower.first is not None:
            error.notes = builder.top(follower.first, title, None)  # type: ignore[attr-defined]
        raise
    if follower.first is None:
        wrappers = ", ".join(source.decorators) or "what wraps it"
        raise RuntimeError(f"{title} did not run: {wrappers} did not call it")
    made = builder.top(follower.first, title, output)
    attach(made, notes or {})
    return made


def _plain_function(given: Any) -> Any:
    """Find what was written as a function; refuse what is none, and what is compiled."""
    if not inspect.isroutine(given):
        got, hint = f"a {type(given).__name__}", "Give a module, or a function that calls it."
        if isinstance(given, type):
            got, hint = f"the class {given.__name__}", "Make an instance of it."
        if isinstance(getattr(given, "model", None), nn.Module):
            hint = "Give its attribute `model`."
        raise TypeError(f"annotate runs a torch.nn.Module or a function, not {got}. {hint}")
    if hasattr(given, "_torchdynamo_orig_callable"):
        raise ValueError(
            f"{given.__qualname__} is compiled, and compiled code does not run line by line. "
            "Annotate the function that torch.compile was given."
        )
    return _unwrapped(given)


def _more(functions: Any) -> list[CodeType]:
    given: list[Any] = list(functions) if isinstance(functions, Iterable) else [None]
    if not all(map(inspect.isroutine, given)):
        raise TypeError(
            f"functions must be a list of functions, as [build_mask], not {functions!r}"
        )
    return [_code(_unwrapped(one), one.__name__) for one in given]


def _unwrapped(function: Any) -> Any:
    return inspect.unwrap(getattr(function, "__func__", function))


def _below(
    module: Any, function: Callable[..., Any], more: list[CodeType]
) -> tuple[list[CodeType], set[str]]:
    """Say which functions are looked for inside of a module, and all of which files."""
    modules = list(module.modules()) if isinstance(module, nn.Module) else []
    forwards = [function, *(forward_function(one) for one in modules)]
    codes = [code for one in forwards if (code := getattr(one, "__code__", None))]
    # torch's own files are full of helpers that say nothing about the model.
    files = {
        forward.__code__.co_filename
        for forward in forwards
        if hasattr(forward, "__code__") and not (forward.__module__ or "").startswith("torch.")
    }
    attention = [_unwrapped(one) for one in attention_functions()]
    codes += [code for one in attention if (code := getattr(one, "__code__", None))]
    return codes + more, files


def _code(function: Callable[..., Any], title: str) -> CodeType:
    code = getattr(function, "__code__", None)
    if code is None:
        raise ValueError(f"{title} is not written in Python; there is no source to annotate")
    if code.co_flags & LATER:
        raise ValueError(
            f"{title} is a generator or a coroutine: calling it runs nothing. Annotate a function "
            "that goes through it"
        )
    return code


def _source(code: CodeType, title: str) -> Source:
    if code.co_name == "<lambda>":
        raise ValueError(f"{title} is a lambda, which has no lines. Write it with def")
    try:
        return source_lines(code)
    except UNREADABLE as error:
        raise ValueError(
            f"the source of {title} is not to be found ({error}); it must be in a file or a "
            "notebook's cell"
        ) from None
