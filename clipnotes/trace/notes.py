"""The source of a forward with what each statement made beside it, from a real run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

from torch import nn

from clipnotes.trace.describe import forward_function, source_of
from clipnotes.trace.letters import letters_for
from clipnotes.trace.margin import notes_text
from clipnotes.trace.record import check_runs
from clipnotes.trace.statements import Source, source_lines
from clipnotes.trace.watch import Watcher, watching


@dataclass(eq=False)
class Notes:
    """A function's source, annotated. ``print`` shows it, in 100 columns.

    Attributes:
        title: What was annotated, such as ``CLIPMLP.forward``.
        file, line: Where it is written, from its package's folder on; ``None`` if nobody knows.
        letters: Letter -> size, for the shapes.
        output: What the call gave back, untouched.
    """

    title: str
    file: str | None
    line: int | None
    letters: dict[str, int]
    output: Any = field(repr=False)
    _source: Source = field(repr=False)
    _watcher: Watcher = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can hold it, but for the output.

        Returns:
            ``title``, ``file``, ``line``, ``letters``, ``wrapped_by`` (the decorators, from the
            outermost on), ``calls`` (how often it was called; the first call is annotated),
            ``arguments`` (name -> value), ``lines`` (of the source) and ``statements``: for each
            its ``first`` and ``last`` line, counted from 0, and, if it ran, what became of it.
        """
        source, runs = self._source, self._watcher.runs
        statements: list[dict[str, Any]] = []
        for statement in source.statements:
            entry: dict[str, Any] = {
                "first": statement.first - source.first,
                "last": statement.last - source.first,
                "reads": sorted(statement.reads),
                "loop": statement.is_loop and not statement.in_one_line,
                "text": statement.is_text,
                "ran": statement.first in runs,
            }
            if run := runs.get(statement.first):
                entry |= {
                    "times": run.times,
                    "taken": run.taken,
                    "made": {name: value.to_dict() for name, value in run.made.items()},
                    "written": run.written,
                    "shares": run.shares,
                    "returned": None if run.returned is None else run.returned.to_dict(),
                    "raised": run.raised,
                }
            statements.append(entry)
        return {
            "title": self.title,
            "file": self.file,
            "line": self.line,
            "letters": self.letters,
            "wrapped_by": source.decorators,
            "calls": self._watcher.calls,
            "head": [line - source.first for line in source.head],
            "arguments": {name: value.to_dict() for name, value in self._watcher.arguments.items()},
            "lines": source.lines,
            "statements": statements,
        }

    def __str__(self) -> str:
        return notes_text(self.to_dict())


def annotate(
    module: nn.Module | Callable[..., Any],
    /,
    *args: Any,
    names: Mapping[str, int] | None = None,
    **kwargs: Any,
) -> Notes:
    """Run a module once, and return the source of its ``forward`` with notes beside it.

    Behind each statement stands what it made: shapes, the dtype where it changes, small values as
    they are, which tensors it wrote into, what shares memory with what, which way a branch went,
    how often a loop ran (its first round is shown), and what is returned. What did not run is
    marked. The module computes what it always computes; only this one function is watched, and
    a debugger or coverage that watches, too, goes on to see everything.

    Two statements on one line are one statement here.

    Args:
        module: A module, or a function that is written in Python.
        *args: Passed to it.
        names: Letters for sizes, such as ``{"B": 2, "N": 65}``. Those that the module's
            configuration and its first argument tell (``B``, ``D``, ``N``, ...) come behind them.
        **kwargs: Passed to it.

    Returns:
        The :class:`clipnotes.trace.Notes`. If the call raises, the error has them as its attribute
        ``notes``, up to where it happened.

    Raises:
        TypeError: ``module`` is neither, or does not take these arguments.
        ValueError: It is compiled, has no source in Python, or is a generator.
        RuntimeError: What wraps the ``forward`` did not call it.

    Example:
        >>> import clipnotes, torch
        >>> mlp = clipnotes.load().model.vision_model.encoder.layers[0].mlp
        >>> notes = annotate(mlp, torch.randn(2, 65, 128), names={"B": 2, "N": 65})
        >>> print(notes)
        CLIPMLP.forward  ...
        B = 2, N = 65, D = 128
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:  hidden_states (B, N, D) ...
            hidden_states = self.fc1(hidden_states)                      (B, N, 512)
            hidden_states = self.activation_fn(hidden_states)            (B, N, 512)
            hidden_states = self.fc2(hidden_states)                      (B, N, D)
            return hidden_states                                         (B, N, D)
    """
    is_module = isinstance(module, nn.Module)
    if is_module or not inspect.isroutine(module):
        check_runs(module, args, kwargs, "annotate")
        function = forward_function(module)  # type: ignore[arg-type]
        title = f"{type(module).__name__}.forward"
    else:
        function = inspect.unwrap(getattr(module, "__func__", module))
        title = function.__qualname__.split("<locals>.")[-1]
    code = _code(function, title)
    try:
        source = source_lines(function)
    except (OSError, TypeError, SyntaxError, StopIteration) as error:
        raise ValueError(
            f"the source of {title} is not to be found ({error}); it must be in a file or a "
            "notebook's cell"
        ) from None
    owner = module if is_module else getattr(module, "__self__", None)
    named = _arguments(module, args, kwargs)
    letters = letters_for(names, getattr(owner, "config", None), named)
    watcher = Watcher(source, code, _weights(owner))
    file, line = source_of(function)

    def notes(output: Any) -> Notes:
        return Notes(title, file, line, letters, output, source, watcher)

    try:
        with watching(watcher):
            output = module(*args, **kwargs)
    except BaseException as error:
        error.notes = notes(None)  # type: ignore[attr-defined]
        raise
    if watcher.calls == 0:
        raise RuntimeError(
            f"{title} did not run: {', '.join(source.decorators) or 'what wraps it'} did not call "
            "it"
        )
    return notes(output)


def _code(function: Callable[..., Any], title: str) -> CodeType:
    code = getattr(function, "__code__", None)
    if code is None:
        raise ValueError(f"{title} is not written in Python; there is no source to annotate")
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        raise ValueError(
            f"{title} is a generator or a coroutine: calling it runs nothing. Annotate a function "
            "that goes through it"
        )
    return code


def _arguments(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**{str(i): value for i, value in enumerate(args)}, **kwargs}


def _weights(owner: Any) -> dict[str, Any]:
    """The tensors that a module holds itself: results may be views of them."""
    if not isinstance(owner, nn.Module):
        return {}
    own = {**owner._parameters, **owner._buffers}
    return {f"self.{name}": value for name, value in own.items() if value is not None}
