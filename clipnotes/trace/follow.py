"""Follow a run through Python: which functions are watched, and which call belongs into which."""

from __future__ import annotations

import dis
import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.trace.describe import Describer
from clipnotes.trace.statements import UNREADABLE, Source, source_lines
from clipnotes.trace.watch import Watcher

#: Calling one of these runs nothing of its body.
LATER = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Follower:
    """Records the first call of a function, and the calls of others that it leads to.

    Attributes:
        first: The record of that call; ``None`` before it comes.
    """

    def __init__(
        self,
        code: CodeType,
        source: Source,
        inside: Iterable[CodeType] = (),
        files: Iterable[str] = (),
    ) -> None:
        """Say what to follow.

        Args:
            code: Of the function.
            source: Of the same.
            inside: Other functions that are recorded, too, where it leads to them.
            files: Files all of whose functions are.
        """
        self.code = code
        self.first: Watcher | None = None
        self._files = frozenset(files)
        self._inside = {id(other): other for other in inside}
        self._open: list[tuple[FrameType, Watcher]] = []
        self._describe = Describer()
        # By identity, since Python compares two code objects by all that is in them. Whoever is
        # looked up here stays in here, so that no other one gets its number.
        self._sources: dict[int, tuple[CodeType, Source | None]] = {id(code): (code, source)}
        self._deep = bool(self._inside or self._files)

    def enter(self, frame: FrameType) -> Watcher | None:
        """Begin the record of a call, if it is to be recorded."""
        code = frame.f_code
        if not self._open:
            if code is not self.code:
                return None
            if self.first is not None:
                self.first.calls += 1
                return None
        elif not self._deep:
            if code is self.code and self.first is not None:
                self.first.calls += 1
            return None
        source = self._source_of(code)
        if source is None:
            return None
        owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        owner = owner if code.co_varnames[:1] == ("self",) else None
        record = Watcher(frame, source, self._describe, _weights(owner))
        record.owner = owner
        if self._open:
            above, caller = self._open[-1]
            caller.called(above.f_lasti, record)
        else:
            self.first = record
        self._open.append((frame, record))
        record.begin(frame)
        return record

    def leave(self, frame: FrameType) -> None:
        """End the record of a call."""
        if self._open and self._open[-1][0] is frame:
            self._open.pop()

    def _source_of(self, code: CodeType) -> Source | None:
        if id(code) not in self._sources:
            ours = code.co_filename in self._files and not code.co_name.startswith("<")
            ours = ours or id(code) in self._inside
            self._sources[id(code)] = (code, _source(code) if ours else None)
        return self._sources[id(code)][1]


def _source(code: CodeType) -> Source | None:
    """The source of a function below; one that cannot be read is passed over."""
    if code.co_flags & LATER:
        return None
    try:
        return source_lines(code)
    except UNREADABLE:
        return None


def _weights(owner: Any) -> dict[str, Tensor]:
    """The tensors that a module holds itself: results may be views of them."""
    if not isinstance(owner, nn.Module):
        return {}
    own = {**owner._parameters, **owner._buffers}
    return {f"self.{name}": value for name, value in own.items() if value is not None}


@contextmanager
def following(follower: Follower) -> Iterator[None]:
    """Let a follower see what runs in this thread.

    Python tells one function in a thread about lines. If somebody has one there, a debugger or
    coverage, every event is handed on to it, and afterwards it is in its place again.
    """
    # Looking at a tensor must not call its class: therefore DisableTorchFunction below.
    previous = sys.gettrace()
    thread = threading.get_ident()

    def called(frame: FrameType, event: Any, argument: Any) -> Any:
        theirs = previous(frame, event, argument) if previous else None
        if previous is not None and sys.gettrace() is not called:
            sys.settrace(called)  # coverage's puts itself back as soon as it is called
        if threading.get_ident() != thread:
            return theirs
        with torch._C.DisableTorchFunction():
            record = follower.enter(frame)
        return theirs if record is None else _local(follower, record, theirs)

    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(previous)


def _local(
    follower: Follower, record: Watcher, theirs: Callable[..., Any] | None
) -> Callable[..., Any]:
    def local(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal theirs
        with torch._C.DisableTorchFunction():
            if event == "line":
                record.line(frame)
            elif event == "exception" and not _ends_a_loop(frame, argument[0]):
                given = argument[1]
                record.error(given if isinstance(given, BaseException) else argument[0]())
            elif event == "return":
                record.end(frame, argument)
                follower.leave(frame)
        if theirs is not None:
            theirs = theirs(frame, event, argument)
        return local

    return local


def _ends_a_loop(frame: FrameType, error: type[BaseException]) -> bool:
    """Whether an iterator written in Python only says so that it has come to its end."""
    at_loop = frame.f_code.co_code[frame.f_lasti] == dis.opmap["FOR_ITER"]
    return at_loop and issubclass(error, StopIteration)
