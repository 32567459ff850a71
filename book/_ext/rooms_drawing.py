"""Sphinx extension: the directive `rooms`, a drawing of the package's rooms and their imports.

It is made from the source, as SVG in the page itself, so it takes the page's colours.
"""

from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from _tools import rooms

#: In units of the drawing, which is as wide as a telephone's column.
WIDTH, COLUMNS = 350, 4
BOX_WIDTH, BOX_HEIGHT, GAP = 78, 24, 6
LABEL, BETWEEN_ROWS, BETWEEN_FLOORS = 18, 14, 40

Place = tuple[float, float]


def lay_out(floors: dict[str, int]) -> tuple[dict[str, Place], dict[int, float], float]:
    """Give each room a place: (the top left corners, the top of each floor, the whole height)."""
    corners: dict[str, Place] = {}
    tops: dict[int, float] = {}
    y = 4.0
    for floor in sorted(set(floors.values()), reverse=True):
        names = [name for name, its_floor in floors.items() if its_floor == floor]
        tops[floor] = y
        for start in range(0, len(names), COLUMNS):
            row = names[start : start + COLUMNS]
            used = len(row) * BOX_WIDTH + (len(row) - 1) * GAP
            x = LABEL + (WIDTH - LABEL - used) / 2
            for place, name in enumerate(row):
                corners[name] = (x + place * (BOX_WIDTH + GAP), y)
            y += BOX_HEIGHT + BETWEEN_ROWS
        y += BETWEEN_FLOORS - BETWEEN_ROWS
    return corners, tops, y - BETWEEN_FLOORS + 4


def line(start: Place, end: Place) -> str:
    """Draw a line from the lower edge of a box to the upper edge of one below it."""
    x0, y0 = start[0] + BOX_WIDTH / 2, start[1] + BOX_HEIGHT
    x1, y1 = end[0] + BOX_WIDTH / 2, end[1]
    bend = (y1 - y0) / 2
    return f'<path d="M{x0:g} {y0:g}C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}"/>'


def told(floors: dict[str, int], arrows: rooms.Imports) -> str:
    """Say in words what the drawing shows."""
    storeys = [
        f"floor {floor}: {', '.join(name for name in floors if floors[name] == floor)}"
        for floor in sorted(set(floors.values()))
    ]
    uses = [f"{name} uses {', '.join(sorted(arrows[name]))}" for name in floors if arrows.get(name)]
    return f"The rooms of clipnotes from the ground up. {'; '.join(storeys)}. {'; '.join(uses)}."


def svg(floors: dict[str, int], imports: rooms.Imports) -> str:
    """Draw the rooms: a row of boxes a floor, and a line to each room that one needs directly."""
    arrows = rooms.needed(imports)
    corners, tops, height = lay_out(floors)
    lines = [
        line(corners[start], corners[end])
        for start in floors
        for end in sorted(arrows.get(start, set()) & corners.keys())
    ]
    boxes = [
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="5"/>'
        f'<text x="{x + BOX_WIDTH / 2:g}" y="{y + 16:g}">{escape(name)}</text>'
        for name, (x, y) in corners.items()
    ]
    labels = [f'<text x="8" y="{y + 16:g}">{floor}</text>' for floor, y in tops.items()]
    return (
        f'<svg class="rooms" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{escape(told(floors, imports))}">'
        f'<g class="rooms-lines">{"".join(lines)}</g><g class="rooms-boxes">{"".join(boxes)}</g>'
        f'<g class="rooms-floors">{"".join(labels)}</g></svg>'
    )


class Rooms(SphinxDirective):
    """Puts the drawing where the directive stands."""

    def run(self) -> list[nodes.Node]:
        """Make the node."""
        drawing = svg(rooms.floors(), rooms.imports(rooms.modules()))
        return [nodes.raw("", drawing, format="html")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("rooms", Rooms)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
