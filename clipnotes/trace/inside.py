"""From the records of a run to notes inside of notes: named, folded and marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from clipnotes.trace.calls import Value, renumber
from clipnotes.trace.describe import place_of
from clipnotes.trace.letters import letters_for
from clipnotes.trace.notes import Notes
from clipnotes.trace.text import follows, unmarked
from clipnotes.trace.watch import Watcher


class Builder:
    """Makes notes of records.

    Attributes:
        paths: Module, by its identity -> where it is in the annotated one.
        names: Letter -> size, as the caller wants it.
    """

    def __init__(self, module: Any, names: Mapping[str, int] | None) -> None:
        modules = module.named_modules() if isinstance(module, nn.Module) else ()
        self.paths = {id(one): path for path, one in modules}
        self.names = names

    def top(self, record: Watcher, title: str, output: Any) -> Notes:
        """Make the notes of the annotated call, with those of all inside of it."""
        letters = letters_for(self.names, _config(record), record.arguments)
        notes = replace(self._notes(record, title, "", letters), output=output)
        renumber([tensor for one in notes.walk() for tensor in _tensors(one._record)])
        return notes

    def _notes(self, record: Watcher, title: str, path: str, letters: dict[str, int]) -> Notes:
        file, line = place_of(record.code, record.module)
        inside = [
            self._called(line - record.source.first, instruction, called, path, letters)
            for line, instruction, called in record.inside
        ]
        inside = _fold(inside)
        for notes in inside:
            notes._callee = _callee(record, notes._instruction)
        return Notes(title, path, file, line, letters, None, record, last_path=path, inside=inside)

    def _called(
        self, line: int, instruction: int, record: Watcher, above: str, letters: dict[str, int]
    ) -> Notes:
        name, owner = record.code.co_name, record.owner
        if isinstance(owner, nn.Module):
            title, path = f"{type(owner).__name__}.{name}", self.paths.get(id(owner), above)
        else:
            # Python 3.10 does not know which class it is of.
            title, path = getattr(record.code, "co_qualname", name).split("<locals>.")[-1], above
        if config := _config(record):
            letters = letters_for(self.names, config, record.arguments)
        notes = self._notes(record, title, path, letters)
        notes._statement, notes._instruction = line, instruction
        return notes


def _config(record: Watcher) -> Any:
    return getattr(record.owner, "config", None)


def _callee(record: Watcher, instruction: int) -> list[int] | None:
    """Where the source says what an instruction calls; before Python 3.11 nobody knows."""
    if not hasattr(record.code, "co_positions"):
        return None
    place = list(record.code.co_positions())[instruction // 2]
    return record.source.callee(place)


def _fold(calls: list[Notes]) -> list[Notes]:
    """Put calls that one statement made, and that ran alike, together into the first of them."""
    groups: list[list[Notes]] = []
    keys: list[tuple[Any, ...]] = []
    for notes in calls:
        key = _key(notes, notes.path)
        for i in reversed(range(len(groups))):
            if groups[i][0]._statement == notes._statement:
                paths = [one.path for one in groups[i]]
                if keys[i] == key and follows(paths, notes.path):
                    groups[i].append(notes)
                    break
        else:
            groups.append([notes])
            keys.append(key)
    for group in groups:
        group[0].times, group[0].last_path = len(group), group[-1].path
    return [group[0] for group in groups]


def _key(notes: Notes, above: str) -> tuple[Any, ...]:
    """All that notes say, but for the number of a layer and which tensors they were."""
    record = notes._record
    runs = [
        (
            line,
            run.times,
            run.taken,
            {name: unmarked(value.to_dict()) for name, value in run.made.items()},
            run.written,
            run.shares,
            None if run.returned is None else unmarked(run.returned.to_dict()),
            run.raised,
        )
        for line, run in record.runs.items()
    ]
    return (
        notes.path.removeprefix(above),
        notes.last_path.removeprefix(above),
        notes.times,
        notes.title,
        (notes.file, notes.line),
        str({name: unmarked(value.to_dict()) for name, value in record.arguments.items()}),
        str(runs),
        (notes._statement, notes._instruction),
        tuple(_key(one, above) for one in notes.inside),
    )


def _tensors(record: Watcher) -> Iterator[Value]:
    values = list(record.arguments.values())
    for run in record.runs.values():
        values += [*run.read.values(), *run.made.values()]
        values += [run.returned] if run.returned else []
    for value in values:
        yield from value.tensors()
