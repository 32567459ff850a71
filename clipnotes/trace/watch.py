"""Watch one call of a function, and write down what each of its statements made."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from torch import Tensor

from clipnotes.trace.calls import Value
from clipnotes.trace.describe import Describer, error_text
from clipnotes.trace.statements import Source, Statement


@dataclass
class Run:
    """What became of a statement.

    Attributes:
        times: How often it ran; of a loop, how often its body ran.
        taken: Of a branch, as ``if``: whether its body ran, the first time.
        read: Name -> tensor, of those that it uses, as the first run found them.
        made: Name -> value, as the first run left them.
        written: Names of tensors that were there before and that it wrote into.
        shares: Name -> another name, whose memory it shares: one is a view of the other.
        returned, raised: What it gave back or raised, if it did.
        finished: Whether its first run has come to its end.
    """

    times: int = 0
    taken: bool | None = None
    read: dict[str, Value] = field(default_factory=dict)
    made: dict[str, Value] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    shares: dict[str, str] = field(default_factory=dict)
    returned: Value | None = None
    raised: str | None = None
    finished: bool = False


class Watcher:
    """The record of one call.

    Attributes:
        source, code, module: Of the function: its text, what Python made of that, and the name of
            the module that it is written in.
        runs: The statement's first line -> what became of it; a line that never ran is not there.
        arguments: Name -> value, as the call began.
        inside: The calls that it made, of other functions that are watched: for each, the line of
            the statement, the place of the instruction in the compiled code, and the record.
        owner: The object whose method it is, if it is one.
        calls: How often the function was called; this is the first of them.
    """

    def __init__(
        self, frame: FrameType, source: Source, describe: Describer, weights: Mapping[str, Tensor]
    ) -> None:
        self.source = source
        self.code = frame.f_code
        self.module = str(frame.f_globals.get("__name__", ""))
        self.weights = weights
        self.runs: dict[int, Run] = {}
        self.arguments: dict[str, Value] = {}
        self.inside: list[tuple[int, int, Watcher]] = []
        self.owner: Any = None
        self.calls = 1
        self.describe = describe
        self._current: Statement | None = None
        self._before: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._raising: BaseException | None = None
        self._returning: Statement | None = None

    def begin(self, frame: FrameType) -> None:
        """Write down the arguments."""
        code = frame.f_code
        n = code.co_argcount + code.co_kwonlyargcount
        n += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
        names = code.co_varnames[:n]
        values = frame.f_locals
        self.arguments = {
            name: self.describe.value(values[name])
            for i, name in enumerate(names)
            if name in values and not (i == 0 and name == "self")
        }

    def called(self, instruction: int, record: Watcher) -> None:
        """Put down that the statement that runs now has called a function that is watched."""
        line = self._current.first if self._current else self.source.head[0]
        self.inside.append((line, instruction, record))

    def line(self, frame: FrameType) -> None:
        """Finish the statement before, and begin the one that this line belongs to."""
        statement = self.source.at(frame.f_lineno)
        before = self._current
        if statement is None or statement is before:
            return  # another line of the same statement
        if before is not None and isinstance(before.node, ast.Return) and self._raising is None:
            self._returning = before  # from inside a `with`, or a `try` that has a `finally`
        self._finish(frame, statement)
        self._enter(statement, before)
        self._current = statement
        self._remember(frame)

    def end(self, frame: FrameType, value: Any) -> None:
        """Finish the last statement: the function returns, yields, or lets an error through."""
        if self._current is None:
            return
        self._finish(frame, None)
        if self._raising is None:
            last = self._current
            if self._returning is not None and not isinstance(last.node, ast.Return):
                last = self._returning
            run = self.runs[last.first]
            if run.returned is None:
                run.returned = self.describe.value(value)
        self._before = {}  # what was a local goes with its function

    def error(self, error: BaseException | None) -> None:
        """Remember an error; whether it is caught shows with the next event."""
        self._raising = error
        if self._current is not None and error is not None:
            run = self.runs[self._current.first]
            run.raised = run.raised or error_text(error)

    def _enter(self, statement: Statement, before: Statement | None) -> None:
        self._raising = None
        run = self.runs.setdefault(statement.first, Run())
        # A `with` comes back to its head when it is left, and a loop with every round.
        again = before is not None and _inside(before, statement)
        if not again and (statement.in_one_line or not statement.is_loop):
            run.times += 1

    def _remember(self, frame: FrameType) -> None:
        statement = self._current
        if statement is None or self.runs[statement.first].finished:
            return
        self._before = dict(frame.f_locals)
        tensors = {n: value for n, value in self._before.items() if isinstance(value, Tensor)}
        read = {name: tensors[name] for name in sorted(statement.reads) if name in tensors}
        self.runs[statement.first].read = {n: self.describe.value(t) for n, t in read.items()}
        self._versions = {
            name: value._version for name, value in tensors.items() if not value.is_inference()
        }

    def _finish(self, frame: FrameType, following: Statement | None) -> None:
        statement = self._current
        if statement is None:
            return
        run = self.runs[statement.first]
        inside = following is not None and statement.body is not None
        inside = inside and statement.body[0] <= following.first <= statement.body[1]  # type: ignore
        if statement.is_loop and not statement.in_one_line:
            run.times += inside
            if not inside:
                return  # the sequence is at its end, and the name keeps its last value
        elif statement.is_branch and run.taken is None and not statement.in_one_line:
            run.taken = bool(inside)
        if run.finished:
            return  # the first run is the one that is shown
        run.finished = True
        values = frame.f_locals
        for name in statement.binds:
            if name in values:
                run.made[name] = self.describe.value(values[name])
                self._look_for_views(run, name, values[name])
        for name, version in self._versions.items():
            if self._before[name]._version != version and name not in run.made:
                run.written.append(name)

    def _look_for_views(self, run: Run, name: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            return
        for other, earlier in (*self._before.items(), *self.weights.items()):
            if isinstance(earlier, Tensor) and _storage(earlier) == _storage(value):
                if earlier is not value:
                    run.shares[name] = other
                return


def _inside(statement: Statement, around: Statement) -> bool:
    return around.body is not None and around.body[0] <= statement.first <= around.body[1]


def _storage(tensor: Tensor) -> Any:
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):  # sparse and nested ones
        return id(tensor)
