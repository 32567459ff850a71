"""The tree of calls that ``trace`` returns, to be searched, printed and stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clipnotes.trace.html import page_html, tree_html
from clipnotes.trace.text import tree_text


@dataclass(slots=True)
class Value:
    """A description of something that was passed or returned; the thing itself is not kept.

    Attributes:
        type: Name of its class.
        shape: The shape of a tensor, else ``None``.
        dtype: The dtype of a tensor, as in ``"float32"``, else ``None``.
        mark: A number that a tensor has wherever it shows up unchanged; ``None`` if that is only
            once.
        fields: What is in an output object, dict, tuple or list, by name or by place.
        text: How Python writes a number, a string, ``None`` and the like.
    """

    type: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    mark: int | None = None
    fields: dict[str, Value] | None = None
    text: str | None = None

    def tensors(self) -> Iterator[Value]:
        """Iterate over the tensors in this value, itself included."""
        if self.dtype is not None:
            yield self
        for inner in (self.fields or {}).values():
            yield from inner.tensors()

    def to_dict(self) -> dict[str, Any]:
        """Return the description as a dict that JSON can hold."""
        described: dict[str, Any] = {"type": self.type}
        if self.dtype is not None:
            shape = None if self.shape is None else list(self.shape)
            described |= {"shape": shape, "dtype": self.dtype, "mark": self.mark}
        if self.fields is not None:
            described["fields"] = {name: value.to_dict() for name, value in self.fields.items()}
        if self.text is not None:
            described["text"] = self.text
        return described

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Value:
        """Build the description again from what ``to_dict`` returned."""
        shape, fields = found.get("shape"), found.get("fields")
        return cls(
            type=found["type"],
            shape=None if shape is None else tuple(shape),
            dtype=found.get("dtype"),
            mark=found.get("mark"),
            fields=None
            if fields is None
            else {name: cls.from_dict(value) for name, value in fields.items()},
            text=found.get("text"),
        )


def renumber(tensors: list[Value]) -> None:
    """Keep the marks of tensors that show up more than once, and number them from 1 in order."""
    counts = Counter(tensor.mark for tensor in tensors)
    numbers: dict[int | None, int] = {}
    for tensor in tensors:
        several = counts[tensor.mark] > 1
        tensor.mark = numbers.setdefault(tensor.mark, len(numbers) + 1) if several else None


@dataclass(repr=False)
class Call:
    """One call of one module, with the calls that it made.

    Attributes:
        path: Where the module is in the model, as in ``get_submodule``; ``""`` is the model.
        class_name: The module's class.
        arguments: What was passed, by the names in the signature of ``forward``.
        unset: Parameters of ``forward`` that were not passed, so that they had their defaults.
        returned: What the call returned; ``None`` if it raised.
        raised: The error that ended the call; ``None`` if there was none.
        parameters: How many numbers the module's own weights have, without the modules below it.
        file, line: Where ``forward`` is written, counted from the folder of its package; ``None``
            for code that is not Python.
        calls: The calls that it made, in order.
    """

    path: str
    class_name: str
    arguments: dict[str, Value] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    returned: Value | None = None
    raised: str | None = None
    parameters: int = 0
    file: str | None = None
    line: int | None = None
    calls: list[Call] = field(default_factory=list)

    def walk(self) -> Iterator[Call]:
        """Iterate over this call and all calls below it, each before the calls that it made."""
        yield self
        for call in self.calls:
            yield from call.walk()

    def find_all(self, name: str) -> list[Call]:
        """Find every call of a class or of a module.

        Args:
            name: A class name, a module path, or the end of a path (``"layers.0"``).

        Returns:
            The calls in order; an empty list if there are none.
        """
        return [
            call
            for call in self.walk()
            if name == call.class_name or f".{call.path}".endswith(f".{name}")
        ]

    def find(self, name: str) -> Call:
        """Find the first call of a class or of a module.

        Args:
            name: A class name, a module path, or the end of a path (``"layers.0"``).

        Returns:
            The call, with those that it made.

        Raises:
            LookupError: There is no such call. The message lists the classes that were called.
        """
        for call in self.find_all(name):
            return call
        names = ", ".join(dict.fromkeys(call.class_name for call in self.walk()))
        raise LookupError(f"no call of {name!r}. Give a module path or one of the classes {names}.")

    def chain(self, name: str) -> list[Call]:
        """List the calls that lead from this one to the first call of a class or of a module.

        Args:
            name: A class name, a module path, or the end of a path (``"layers.0"``).

        Returns:
            The calls from this one to the one that was asked for, both included.

        Raises:
            LookupError: There is no such call.
        """
        target, links = self.find(name), [self]
        while links[-1] is not target:
            links += [call for call in links[-1].calls if any(c is target for c in call.walk())]
        return links

    def to_dict(self) -> dict[str, Any]:
        """Return the tree as a dict that JSON can hold."""
        return {
            "path": self.path,
            "class": self.class_name,
            "arguments": {name: value.to_dict() for name, value in self.arguments.items()},
            "unset": list(self.unset),
            "returned": None if self.returned is None else self.returned.to_dict(),
            "raised": self.raised,
            "parameters": self.parameters,
            "file": self.file,
            "line": self.line,
            "calls": [call.to_dict() for call in self.calls],
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Call:
        """Build the tree again from what ``to_dict`` returned, to search it and to print it."""
        return cls(
            path=found["path"],
            class_name=found["class"],
            arguments={name: Value.from_dict(value) for name, value in found["arguments"].items()},
            unset=tuple(found["unset"]),
            returned=None if found["returned"] is None else Value.from_dict(found["returned"]),
            raised=found["raised"],
            parameters=found["parameters"],
            file=found["file"],
            line=found["line"],
            calls=[Call.from_dict(call) for call in found["calls"]],
        )

    def to_html(self) -> str:
        """Return the tree as a whole page that folds, follows dark mode and loads nothing."""
        return page_html(self.to_dict())

    def _repr_html_(self) -> str:
        return tree_html(self.to_dict())

    def __repr__(self) -> str:
        place = f" of {self.path}" if self.path else ""
        below = sum(1 for _ in self.walk()) - 1
        return f"<{type(self).__name__}{place}: {self.class_name}, {below} calls below it>"

    def __str__(self) -> str:
        return tree_text(self.to_dict())


@dataclass(repr=False)
class Trace(Call):
    """The call of the model itself, and with it the whole tree.

    Attributes:
        output: What the model returned: the object itself, not a description.
        notes: What a reader of the tree should know about how it was made.

    Example:
        >>> import torch
        >>> from clipnotes.trace import trace
        >>> calls = trace(torch.nn.Sequential(torch.nn.Linear(4, 8)).eval(), torch.randn(2, 4))
        >>> [call.path for call in calls.chain("Linear")]
        ['', '0']
        >>> Trace.from_dict(calls.to_dict()).find("Linear").arguments["input"].shape
        (2, 4)
    """

    output: Any = field(default=None, compare=False)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the tree and its notes as a dict that JSON can hold, without ``output``."""
        return {**super().to_dict(), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Trace:
        """Build the tree again from what ``to_dict`` returned; its ``output`` is ``None``."""
        call = Call.from_dict(found)
        return cls(**vars(call), notes=tuple(found.get("notes", ())))
