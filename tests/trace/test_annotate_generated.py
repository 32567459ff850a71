"""Generated functions: what the notes say is what an interpreter of this file finds."""

import linecache
from contextlib import suppress
from itertools import count

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipnotes.trace.annotation import annotate

NUMBERS = count()


class Returned(Exception):
    pass


class Interpreter:
    """Runs a program of tuples, and keeps for each line what it did the first time."""

    def __init__(self, x):
        self.values = {"x": x, "y": torch.ones(3)}
        self.notes = {}

    def run(self, program, line):
        """Run statements from a line on; return the line behind them."""
        for statement in program:
            line = getattr(self, statement[0])(line, *statement[1:])
        return line

    def skip(self, program, line):
        return line + sum(size(statement) for statement in program)

    def note(self, line, **what):
        return self.notes.setdefault(line, {"times": 0, **what})

    def grow(self, line, name, source):
        value = torch.cat([self.values[source]] * 2)[:8]
        self.values[name] = value
        self.note(line, made={name: tuple(value.shape)})["times"] += 1
        return line + 1

    def lines(self, line, name, source):
        """One statement on three lines."""
        value = self.values[source].double()
        self.values[name] = value
        self.note(line, made={name: tuple(value.shape)}, dtype={name: value.dtype})["times"] += 1
        return line + 3

    def pair(self, line, one, other):
        a, b = self.values[one][:1], self.values[one][1:]
        self.values[one], self.values[other] = a, b
        made = {one: tuple(a.shape), other: tuple(b.shape)}
        self.note(line, made=made)["times"] += 1
        return line + 1

    def write(self, line, name):
        value = self.values[name]
        value.add_(1)
        same = {
            other
            for other, tensor in self.values.items()
            if tensor.untyped_storage()._cdata == value.untyped_storage()._cdata
        }
        self.note(line, written=same)["times"] += 1
        return line + 1

    def branch(self, line, name, limit, yes, no):
        taken = len(self.values[name]) > limit
        note = self.note(line, taken=taken)
        note["times"] += 1
        middle = self.skip(yes, line + 1)
        end = self.skip(no, middle + 1)
        if taken:
            self.run(yes, line + 1)
        else:
            self.run(no, middle + 1)
        return end

    def loop(self, line, rounds, body):
        note = self.note(line)
        for _ in range(rounds):
            note["times"] += 1
            self.run(body, line + 1)
        return self.skip(body, line + 1)

    def back(self, line, name):
        self.note(line, returned=tuple(self.values[name].shape))["times"] += 1
        raise Returned


def size(statement):
    kind = statement[0]
    if kind == "branch":
        return 2 + sum(map(size, statement[3])) + sum(map(size, statement[4]))
    if kind == "loop":
        return 1 + sum(map(size, statement[2]))
    return 3 if kind == "lines" else 1


def written(program, indent):
    """The program as Python."""
    space = " " * indent
    for kind, *rest in program:
        if kind == "grow":
            yield f"{space}{rest[0]} = torch.cat([{rest[1]}] * 2)[:8]"
        elif kind == "lines":
            yield from (f"{space}{rest[0]} = (", f"{space}    {rest[1]}.double()", f"{space})")
        elif kind == "pair":
            yield f"{space}{rest[0]}, {rest[1]} = {rest[0]}[:1], {rest[0]}[1:]"
        elif kind == "write":
            yield f"{space}{rest[0]}.add_(1)"
        elif kind == "branch":
            yield f"{space}if len({rest[0]}) > {rest[1]}:"
            yield from written(rest[2], indent + 4)
            yield f"{space}else:"
            yield from written(rest[3], indent + 4)
        elif kind == "loop":
            yield f"{space}for _ in range({rest[0]}):"
            yield from written(rest[1], indent + 4)
        else:
            yield f"{space}return {rest[0]}"


NAME = st.sampled_from(["x", "y"])
SIMPLE = st.one_of(
    st.tuples(st.just("grow"), NAME, NAME),
    st.tuples(st.just("lines"), NAME, NAME),
    st.sampled_from([("pair", "x", "y"), ("pair", "y", "x")]),
    st.tuples(st.just("write"), NAME),
    st.tuples(st.just("back"), NAME),
)


def nested(inner):
    block = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("branch"), NAME, st.integers(0, 4), block, block),
        st.tuples(st.just("loop"), st.integers(0, 3), block),
    )


PROGRAM = st.lists(st.recursive(SIMPLE, nested, max_leaves=6), min_size=1, max_size=6)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PROGRAM)
def test_the_notes_are_what_an_interpreter_finds(program):
    program = [*program, ("back", "x")]
    text = "\n".join(["def made(x):", "    y = torch.ones(3)", *written(program, 4), ""])
    file = f"<generated {next(NUMBERS)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)
    names = {"torch": torch}
    exec(compile(text, file, "exec"), names)

    interpreter = Interpreter(torch.zeros(2))
    with suppress(Returned):
        interpreter.run(program, 2)
    notes = annotate(names["made"], torch.zeros(2)).to_dict()
    found = {}
    for statement in notes["statements"]:
        if not statement["ran"] or statement["first"] == 1:
            continue
        note = {"times": statement["times"]}
        if statement["made"] and not statement["loop"]:
            made = statement["made"].items()
            note["made"] = {name: tuple(value["shape"]) for name, value in made}
            if statement["last"] > statement["first"]:
                kinds = {name: getattr(torch, value["dtype"]) for name, value in made}
                note["dtype"] = kinds
        if statement["taken"] is not None:
            note["taken"] = statement["taken"]
        if statement["written"]:
            note["written"] = set(statement["written"])
        if statement["returned"]:
            note["returned"] = tuple(statement["returned"]["shape"])
        found[statement["first"]] = note
    assert found == interpreter.notes, text
