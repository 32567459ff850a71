"""A call chain as lines of text, from the plain dicts of ``Call.to_dict``.

It works on dicts, so that a chain that was stored by another version of transformers prints like a
new one.
"""

import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from typing import Any

WIDTH = 100
LEGEND = (
    "#n: the same numbers in the same memory, unchanged.  own: parameters of the module itself."
)
TIMES = "\u00d7"  # the multiplication sign, as in "layers.0 … 11 ×12"

_DEEPEST = 60  # columns for the branches of the tree; deeper levels are drawn in the same ones
_GLUE = "\0"  # a space at which a line must not be broken


def value_text(value: dict[str, Any]) -> str:
    """Write a dict of ``Value.to_dict`` on a line, as in ``(7 × float32[2, 7, 128])``."""
    return _value(value).replace(_GLUE, " ")


def _value(value: dict[str, Any]) -> str:
    if value.get("dtype") is not None:
        shape = value["shape"]
        sizes = "?" if shape is None else f",{_GLUE}".join(str(size) for size in shape)
        mark = "" if value.get("mark") is None else f"{_GLUE}#{value['mark']}"
        return f"{value['dtype']}[{sizes}]{mark}"
    if value.get("fields") is not None:
        inside = ", ".join(_fields(value["fields"]))
        if value["type"] != "tuple":
            return f"{value['type']}({inside})"
        return f"({inside},)" if len(value["fields"]) == 1 else f"({inside})"
    return value["type"] if value.get("text") is None else value["text"].replace(" ", _GLUE)


def _fields(fields: dict[str, dict[str, Any]]) -> Iterator[str]:
    # The fields of a list or tuple have numbers for names; many alike are written as one.
    items = [("" if key.isdigit() else key, value) for key, value in fields.items()]
    for (name, _), run in groupby(items, key=lambda item: (item[0], repr(unmarked(item[1])))):
        values = [value for _, value in run]
        if len(values) > 2:
            yield f"{len(values)}{_GLUE}{TIMES}{_GLUE}{_value(unmarked(values[0]))}"
        else:
            yield from (f"{name}={_value(value)}" if name else _value(value) for value in values)


def unmarked(value: dict[str, Any]) -> dict[str, Any]:
    """Of a value, drop which tensor a value is, and keep what kind of tensor."""
    bare = {key: item for key, item in value.items() if key != "mark"}
    if bare.get("fields") is not None:
        bare["fields"] = {name: unmarked(item) for name, item in bare["fields"].items()}
    return bare


def _arguments(call: dict[str, Any]) -> str:
    return ", ".join(f"{name}={_value(value)}" for name, value in call["arguments"].items())


def _outcome(call: dict[str, Any]) -> tuple[str, str]:
    if call["raised"] is not None:
        return "raised", call["raised"]
    return "gave", "" if call["returned"] is None else _value(call["returned"])


def fold(calls: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Group neighbours that differ only in their number and in which tensors they were given."""
    groups: list[list[dict[str, Any]]] = []
    last = None
    for call in calls:
        shape = _shape(call, call["path"])
        paths = [one["path"] for one in groups[-1]] if groups else []
        if groups and shape == last and follows(paths, call["path"]):
            groups[-1].append(call)
        else:
            groups.append([call])
        last = shape
    return groups


def _shape(call: dict[str, Any], above: str) -> tuple[Any, ...]:
    """Return all of a call except the number of its layer and which tensors it was given."""
    return (
        call["path"].removeprefix(above),
        call["class"],
        repr({name: unmarked(value) for name, value in call["arguments"].items()}),
        tuple(call["unset"]),
        repr(None if call["returned"] is None else unmarked(call["returned"])),
        (call["parameters"], call["file"], call["line"], call["raised"]),
        tuple(_shape(inner, above) for inner in call["calls"]),
    )


def follows(paths: list[str], path: str) -> bool:
    """Whether a path goes on where others end: one module again and again, or layers by number."""
    last = paths[-1]
    if len(paths) > 1 and (paths[0] == last) != (last == path):
        return False  # a group is one module called repeatedly, or layers that count upwards
    (stem, number), (next_stem, next_number) = numbered(last), numbered(path)
    return path == last or (
        None not in (number, next_number) and (stem, number + 1) == (next_stem, next_number)
    )


def numbered(path: str) -> tuple[str, Any]:
    """Part a path from the number that it ends with, or from ``None``."""
    match = re.fullmatch(r"(|.*\.)(\d+)", path)
    return (match[1], int(match[2])) if match else (path, None)


def group_title(group: list[dict[str, Any]]) -> tuple[str, str]:
    """Name a group of calls: ``("encoder.layers.0 … 11 ×12", "CLIPEncoderLayer")``."""
    first, last = group[0], group[-1]
    return span(first["path"], last["path"], len(group)), first["class"]


def span(path: str, last: str, times: int) -> str:
    """Name several paths by the first and the last one: ``"encoder.layers.0 … 11 ×12"``."""
    path += f" … {numbered(last)[1]}" if last != path else ""
    return f"{path} {TIMES}{times}" if times > 1 else path


def details(group: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Describe a group of calls as pairs of a label and a text."""
    return [(label, text.replace(_GLUE, " ")) for label, text in _details(group)]


def _details(group: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    first, last = group[0], group[-1]
    yield "given", _arguments(first) or "nothing"
    if first["unset"]:
        yield "unset", ", ".join(first["unset"])
    yield _outcome(first)
    if _outcome(last) != _outcome(first):
        yield "last", _outcome(last)[1]


def own_parameters(call: dict[str, Any]) -> str:
    """Count the parameters that a module holds itself, not in modules below it."""
    return f"{call['parameters']:,} own" if call["parameters"] else ""


def tree_text(call: dict[str, Any], width: int = WIDTH) -> str:
    """Draw a call and those below it, a dict of ``Call.to_dict``, in lines of at most ``width``."""
    notes = (f"note: {note}" for note in call.get("notes", ()))
    lines = [line for note in notes for line in textwrap.wrap(note, width)]
    lines += _lines([call], "", "", width)
    return "\n".join([*lines, *textwrap.wrap(LEGEND, width)])


def _lines(group: list[dict[str, Any]], here: str, below: str, width: int) -> Iterator[str]:
    first = group[0]
    here, below = _shallow(here), _shallow(below)
    yield from _head(group, here, below, width)
    groups = fold(first["calls"])
    rail = below + ("│ " if groups else "  ")
    for label, text in _details(group):
        for i, line in enumerate(_wrap(text, width - len(rail) - 7)):
            yield f"{rail}{'' if i else label:6} {line}".replace(_GLUE, " ").rstrip()
    for i, inner in enumerate(groups):
        last = i == len(groups) - 1
        yield from _lines(
            inner, below + ("└─" if last else "├─"), below + ("  " if last else "│ "), width
        )


def _head(group: list[dict[str, Any]], here: str, below: str, width: int) -> Iterator[str]:
    """Draw the title of a group, with the line of its source at the right where there is room."""
    first = group[0]
    path, name = group_title(group)
    source = f"{first['file'].rpartition('/')[2]}:{first['line']}" if first["file"] else ""
    head = "  ".join(part for part in (path, name, own_parameters(first)) if part)
    room = width - len(here)
    *wrapped, head = _wrap(head, room)
    for line in wrapped:
        yield here + line
        here = below
    gap = room - len(head) - len(source)
    if source and gap >= 2:
        yield f"{here}{head}{' ' * gap}{source}"
    else:
        yield here + head
        if source:
            yield below + source[-room:]


def _shallow(branches: str) -> str:
    return branches if len(branches) <= _DEEPEST else "…" + branches[1 - _DEEPEST :]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
