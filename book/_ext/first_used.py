"""Sphinx extension: say below each name of the API pages which chapter uses it first.

A use is an import or an attribute of a module of clipnotes (`plots.maps`) in a code cell. A method
of an object (`learner.save`) is none: its class is known only when the code runs.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from _tools.chapters import chapters, code_cells, parsed

#: A field of a docstring that describes several arguments at once, as napoleon writes it.
SHARED = re.compile(r":(param|ivar) (\w+(?:, \w+)+):(.*)")


def code_of(text: str) -> Iterator[ast.Module]:
    """Yield a chapter's parsed code cells, without lines for IPython and what is no Python."""
    for cell in code_cells(parsed(text)):
        lines = cell.source.splitlines()
        with suppress(SyntaxError):
            yield ast.parse("\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in lines))


def module_or_none(name: str) -> ModuleType | None:
    """Import a module of clipnotes; what is none, or is elsewhere, is None."""
    if name.split(".")[0] != "clipnotes":
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def uses(text: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each use of something of clipnotes in a chapter."""
    modules: dict[str, str] = {}  # what a name in the chapter stands for
    for cell in code_of(text):
        for node in ast.walk(cell):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    known = alias.name if alias.asname else alias.name.split(".")[0]
                    modules[alias.asname or known] = known
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    yield node.module, alias.name
                    inner = f"{node.module}.{alias.name}"
                    if module_or_none(inner):
                        modules[alias.asname or alias.name] = inner
        for node in ast.walk(cell):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                yield modules.get(node.value.id, ""), node.attr


def thing(module: str, name: str) -> Any:
    """Find what a name in a module stands for, or None."""
    return getattr(module_or_none(module), name, None)


@cache
def chapters_uses() -> list[tuple[str, list[tuple[str, str]]]]:
    """List the chapters (by file name, in order) with what each uses."""
    return [(file.stem, list(uses(file.read_text(encoding="utf-8")))) for file in chapters()]


def same(module: str, name: str, wanted: tuple[str, str]) -> bool:
    """Say whether a use means a public name, by name or, for what is defined once, by identity."""
    if (module, name) == wanted:
        return True
    found = thing(module, name)
    return (
        name == wanted[1]
        and found is thing(*wanted)
        and getattr(found, "__module__", "").startswith("clipnotes")
    )


def first_chapter(module: str, name: str) -> str | None:
    """Name the first chapter whose cells use a public name, by its file, or None."""
    for chapter, used in chapters_uses():
        if any(same(*use, (module, name)) for use in used):
            return chapter
    return None


def say(app: Sphinx, what: str, path: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Add the line below a class, a function or a constant of an API page."""
    module, _, name = path.rpartition(".")
    if what not in {"class", "function", "data"} or not module_or_none(module):
        return
    chapter = first_chapter(module, name)
    if what == "data":  # else it would be what Python says of its type
        lines[:] = comment_of(app, path)
    said = "No chapter uses it by name."
    if chapter:
        said = f"First used in :doc:`chapter {int(chapter[:2])} </book/chapters/{chapter}>`."
    lines += ["", said, ""]


def one_name_each(
    app: Sphinx, what: str, path: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Give each argument that shares a description a line: Sphinx takes the first for types."""
    for number in range(len(lines) - 1, -1, -1):
        found = SHARED.match(lines[number])
        if found:
            kind, names, said = found.groups()
            more = 1  # a description goes on where the next lines are indented
            while number + more < len(lines) and lines[number + more].startswith(" "):
                more += 1
            rest = lines[number + 1 : number + more]
            each = [[f":{kind} {name}:{said}", *rest] for name in names.split(", ")]
            lines[number : number + more] = [line for one in each for line in one]


def comment_of(app: Sphinx, path: str) -> list[str]:
    """Find the comment (`#:`) beside a constant that a package takes from one of its modules."""
    module, _, name = path.rpartition(".")
    for inner in [module, *(known for known in sys.modules if known.startswith(f"{module}."))]:
        found = ModuleAnalyzer.for_module(inner)
        found.analyze()
        if ("", name) in found.attr_docs:
            return found.attr_docs["", name]
    return []


def skip(app: Sphinx, what: str, name: str, thing: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple: the text of its class describes them."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the hooks; the line comes after what napoleon makes of the docstring."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", one_name_each, priority=890)
    app.connect("autodoc-process-docstring", say, priority=900)
    app.connect("autodoc-skip-member", skip)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
