"""The rooms of the package: the floor of each, as the architecture page says, and their imports.

A room is a module or a folder at the top of `clipnotes/`. Only that page's table decides floors.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from _tools import ROOT
from _tools.chapters import REFERENCE

PAGE = REFERENCE / "architecture.md"
ROW = re.compile(r"^\| (\d+|-) \| ((?:`[\w.]+`(?:, )?)+) \|", flags=re.MULTILINE)
Imports = dict[str, set[str]]


def rows(text: str) -> list[tuple[str, list[str]]]:
    """Read the table of a text: the floor, and the names of the rooms, of each row."""
    return [(floor, re.findall(r"`([\w.]+)`", names)) for floor, names in ROW.findall(text)]


def floors(text: str | None = None) -> dict[str, int]:
    """Return the floor of each room with code, from the page's table, from the ground up."""
    table = rows(PAGE.read_text(encoding="utf-8") if text is None else text)
    return {
        name.removesuffix(".py"): int(floor)
        for floor, names in table
        if floor.isdecimal()
        for name in names
    }


def modules(folder: Path = ROOT) -> dict[str, str]:
    """Return the source of each module of the package, by its dotted name."""
    sources = {}
    for path in sorted((folder / "clipnotes").rglob("*.py")):
        name = ".".join(path.relative_to(folder).with_suffix("").parts)
        sources[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return sources


def imported(source: str, known: dict[str, str]) -> Iterator[str]:
    """Yield what a module imports, also inside of its functions; of packages, the module itself."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"line {node.lineno} imports relatively; write the whole name")
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room(module: str) -> str:
    """Name the room that a module of the package belongs to; the package itself is in none."""
    first, *rest = module.split(".")
    return rest[0] if first == "clipnotes" and rest else ""


def imports(sources: dict[str, str]) -> Imports:
    """Return the rooms that each room imports."""
    found: Imports = {room(module): set() for module in sources if room(module)}
    for module, source in sources.items():
        here = room(module)
        if here:
            found[here] |= {room(name) for name in imported(source, sources)} - {"", here}
    return found


def reached(start: str, arrows: Imports) -> set[str]:
    """Return the rooms that a room imports, directly or by way of others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in arrows.get(waiting.pop(), set()) - found:
            found.add(name)
            waiting.append(name)
    return found


def needed(arrows: Imports) -> Imports:
    """Leave out each arrow that others imply: what a room reaches through another that it uses."""
    return {
        start: {
            end
            for end in ends
            if not any(end in reached(other, arrows) for other in ends if other != end)
        }
        for start, ends in arrows.items()
    }
