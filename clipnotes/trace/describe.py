"""Describe values, name the arguments of a call, and find where a ``forward`` is written."""

import functools
import inspect
import itertools
import linecache
import weakref
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipnotes.trace.calls import Value

_WRITTEN_OUT = (bool, int, float, complex, str, type(None), torch.dtype, torch.device, slice)
_LONGEST_TEXT = 40
_DEEPEST_VALUE = 5  # a list that contains itself must end somewhere


class _Signature(NamedTuple):
    """The parameters of a ``forward``: by place, the name of ``*args``, and all that have names."""

    positional: list[str]
    rest: str
    settable: list[str]

    @classmethod
    def of(cls, forward: Callable[..., Any]) -> "_Signature":
        """Read the parameters of a function; those of compiled code have no names."""
        try:
            parameters = inspect.signature(forward).parameters.values()
        except (TypeError, ValueError):
            return cls([], "args", [])
        by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        open_ended = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return cls(
            positional=[p.name for p in parameters if p.kind in by_place],
            rest=next((p.name for p in parameters if p.kind is open_ended[0]), "args"),
            settable=[p.name for p in parameters if p.kind not in open_ended],
        )


class Describer:
    """Describes the values of one run, and recognises a tensor that an earlier call had."""

    def __init__(self) -> None:
        self.seen: dict[Any, tuple[weakref.ref[Tensor], int, int]] = {}
        self.marks = itertools.count()

    def arguments(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[dict[str, Value], tuple[str, ...]]:
        """Name every argument, and list the parameters that were not passed; never raise."""
        positional, rest, settable = _Signature.of(module.forward)
        passed = dict(zip(positional, args, strict=False))
        for i, value in enumerate(args[len(positional) :]):
            passed[f"{rest}[{i}]"] = value
        passed.update(kwargs)
        unset = tuple(name for name in settable if name not in passed)
        return {name: self.value(value) for name, value in passed.items()}, unset

    def value(self, value: Any, depth: int = 0) -> Value:
        """Describe an argument or an output; of one that cannot be looked at, its class."""
        try:
            return self._value(value, depth)
        except Exception:
            return Value(type(value).__name__)

    def _value(self, value: Any, depth: int) -> Value:
        name = type(value).__name__
        if isinstance(value, Tensor):
            shape = None if value.is_nested else tuple(value.shape)
            dtype = str(value.dtype).removeprefix("torch.")
            return Value(name, shape=shape, dtype=dtype, mark=self._mark(value))
        if isinstance(value, _WRITTEN_OUT):
            text = repr(value)
            short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
            return Value(name, text=short)
        if depth < _DEEPEST_VALUE and (inside := _contents(value)) is not None:
            described = {key: self.value(item, depth + 1) for key, item in inside.items()}
            return Value(name, fields=described)
        return Value(name)

    def _mark(self, tensor: Tensor) -> int:
        # The version counts in-place writes. We keep only a weak reference: tracing then needs no
        # memory for activations, and a new tensor is not mistaken for a dead one in its place.
        version = 0 if tensor.is_inference() else tensor._version
        key = _place(tensor)
        if key in self.seen:
            ref, known_version, mark = self.seen[key]
            if ref() is not None and version == known_version:
                return mark
        mark = next(self.marks)
        self.seen[key] = (weakref.ref(tensor), version, mark)
        return mark


def _place(tensor: Tensor) -> Any:
    """Identify a tensor by its memory: ``x.view(x.shape)`` is a new object but the same tensor."""
    try:
        return (
            tensor.untyped_storage()._cdata,
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
            tensor.is_conj(),
            tensor.is_neg(),
        )
    except RuntimeError:  # sparse and nested tensors, and those of torch.func, have no storage
        return id(tensor)


def _contents(value: Any) -> dict[str, Any] | None:
    """Return the values inside a container by name or place; ``None`` if it is no container."""
    if isinstance(value, Mapping):  # ModelOutput is one
        return {str(key): item for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):  # a named tuple
        return value._asdict()
    if isinstance(value, (tuple, list)):
        return {str(i): item for i, item in enumerate(value)}
    # Transformers' configurations have become dataclasses, with forty fields.
    is_config = hasattr(type(value), "model_type")
    if is_dataclass(value) and not isinstance(value, type) and not is_config:
        return {f.name: getattr(value, f.name, None) for f in fields(value)}
    return None


def forward_function(module: nn.Module) -> Callable[..., Any]:
    """Find the function that was written as ``forward``, under its decorators."""
    function: Any = module.forward
    while True:
        function = inspect.unwrap(getattr(function, "__func__", function))
        if isinstance(function, functools.partial):
            function = function.func
        elif not hasattr(function, "__func__"):
            return function


def source_of(function: Callable[..., Any]) -> tuple[str | None, int | None]:
    """Find the file, counted from the folder of its package, and the line of the ``def``."""
    code = getattr(function, "__code__", None)
    return (None, None) if code is None else place_of(code, function.__module__ or "")


def place_of(code: CodeType, module: str) -> tuple[str, int]:
    """Find the file and the line of a function that was written in a module."""
    line = first = code.co_firstlineno  # the line of a decorator, if there is one
    for number in range(first, first + 50):
        if f"def {code.co_name}" in linecache.getline(code.co_filename, number):
            line = number
            break
    parts, depth = Path(code.co_filename).with_suffix("").parts, module.count(".") + 1
    for tail in (parts[-depth:], parts[-depth - 1 :]):
        if ".".join(tail).removesuffix(".__init__") == module:
            return "/".join(tail) + ".py", line
    path = Path(code.co_filename)
    # A notebook gives each cell a made-up name that differs from session to session.
    return (path.name if path.exists() else "<cell>"), line


def error_text(error: BaseException) -> str:
    """Write an error in one line: its class, and the first line of what it says."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__
