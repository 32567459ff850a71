"""Write the reference page about versions from what was recorded in each of them.

    python book/_tools versions.page            write book/reference/versions.md
    python book/_tools versions.page --check    write nothing, exit 1 if the page differs

`records.py` recorded the answers; the prose is in `groups.py`.
"""

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from _tools import ROOT
from _tools.versions.groups import GROUPS, INTRODUCTION, Group
from clipnotes.compat import recorded

PAGE = ROOT / "book" / "reference" / "versions.md"

SHORT = 12  # characters of an answer that fits into a table's column


def look_up(facts: dict[str, Any], place: tuple[str, ...]) -> Any:
    """Find a fact; `None` if this version has nothing there."""
    found: Any = facts
    for name in place:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def cell(value: Any) -> str:
    """Write a fact into a table's cell."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`".replace("|", "\\|")


def rows(group: Group, versions: dict[str, dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield label and cells, a cell a version; a KeyError if no version has the fact."""
    for label, place in group.rows:
        found = [look_up(facts, place) for facts in versions.values()]
        if all(value is None for value in found):
            raise KeyError(f"nothing is recorded at {'/'.join(place)}: run `make record`")
        if "{}" not in label:
            yield label, [cell(value) for value in found]
            continue
        for name in dict.fromkeys(name for value in found for name in value or {}):
            yield label.format(name), [cell((value or {}).get(name)) for value in found]


def by_version(lines: list[tuple[str, list[str]]], names: list[str]) -> list[str]:
    """Lay facts out as a table with a column for each version."""
    head = [f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    return head + [f"| {label} | {' | '.join(cells)} |" for label, cells in lines]


def by_answer(lines: list[tuple[str, list[str]]], names: list[str]) -> list[str]:
    """Lay facts out as a list, a line an answer: a long one fits on a narrow screen."""
    listed = []
    for label, cells in lines:
        listed.append(f"- {label}")
        pairs = zip(names, cells, strict=True)
        for answer, group in groupby(pairs, key=lambda pair: pair[1]):
            listed.append(f"  - {', '.join(name for name, _ in group)}: {answer}")
    return listed


def section(group: Group, versions: dict[str, dict[str, Any]]) -> str:
    """Write a section: its text, what differs, what does not."""
    lines = list(rows(group, versions))
    same = [f"- {label}: {cells[0]}" for label, cells in lines if len(set(cells)) == 1]
    differ = [(label, cells) for label, cells in lines if len(set(cells)) > 1]
    short = all(len(cell) <= SHORT for _, cells in differ for cell in cells)
    parts = [f"## {group.title}", group.text]
    if differ:
        parts.append("\n".join((by_version if short else by_answer)(differ, list(versions))))
    if same:
        parts.append("The same in all of them:\n\n" + "\n".join(same))
    return "\n\n".join(parts) + "\n"


def text() -> str:
    """Return what the page has to hold."""
    versions = recorded()
    return "\n".join([INTRODUCTION, *(section(group, versions) for group in GROUPS)])


def main(arguments: list[str]) -> int:
    """Write the page, or only say whether it differs."""
    check = arguments == ["--check"]
    if arguments and not check:
        sys.exit(__doc__)
    page = text()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    print(f"{'differs from the record' if check else 'written'}: {PAGE.name}")
    if not check:
        PAGE.write_text(page, encoding="utf-8")
    return 1 if check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
