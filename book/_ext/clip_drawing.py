"""Draws the map of CLIP as SVG, from the table in `_tools/clip_map.py`.

One table makes three drawings: wide, tall for a telephone, and small for the head of a chapter.
So places are counted along the way of the data and across it, and become x and y in the end.
"""

import textwrap
from html import escape
from typing import NamedTuple

from _tools.clip_map import ARROWS, BOXES, TEXT, VISION, Arrow, Box, listed, of_chapter, told

LETTER = 5.4  # the mean width of a letter of 11 units, for lines that break
LINE = 13.0
TOWERS = {VISION: "vision tower", TEXT: "text tower"}
Span = tuple[float, float]


class Link(NamedTuple):
    """Where a box leads: an address and the chapter's title."""

    address: str
    title: str


class Place(NamedTuple):
    """A rectangle: from where to where along the way of the data, and across it."""

    along: Span
    across: Span

    def grown(self, by: float) -> "Place":
        """Make it larger on each side."""
        (a0, a1), (c0, c1) = self
        return Place((a0 - by, a1 + by), (c0 - by, c1 + by))


class Layout(NamedTuple):
    """The sizes of a drawing: of each step and lane, and the gaps behind them."""

    steps: tuple[float, ...]
    step_gaps: tuple[float, ...]
    lanes: tuple[float, ...]
    lane_gaps: tuple[float, ...]
    pad: float  # from a frame to what it holds
    tall: bool = False
    brief: bool = False  # names only
    margin: float = 2.0
    head: float = 0.0  # room in front of the first step, for the towers' names
    around: float = 9.0  # for the arrow on the outer side of the last lane

    def along(self) -> list[Span]:
        """Return where the steps are."""
        return behind_each_other(self.margin + self.head, self.steps, self.step_gaps)

    def across(self) -> list[Span]:
        """Return where the lanes are."""
        return behind_each_other(self.margin, self.lanes, self.lane_gaps)

    def place(self, box: Box) -> Place:
        """Say where a box stands."""
        steps, lanes = self.along(), self.across()
        along = steps[box.step][0], steps[box.step + box.steps - 1][1]
        across = lanes[box.lane][0], lanes[box.lane + box.lanes - 1][1]
        if self.tall and box.lane not in TOWERS:
            along = self.beside(box, along, across[1] - across[0])
        return Place(along, across).grown(box.frame * self.pad)

    def beside(self, box: Box, along: Span, width: float) -> Span:
        """Make an outer box of the tall drawing as high as its text, beside what it belongs to."""
        height = LINE * len(lines(self, box, width)) + 12
        ends = {arrow.end if arrow.start == box.key else arrow.start
                for arrow in ARROWS if box.key in (arrow.start, arrow.end)}  # fmt: skip
        partners = [one for one in BOXES if one.key in ends and one.lane in TOWERS]
        meets = [shared(along, self.place(one).along) for one in partners]
        centre = next((meet for meet in meets if meet is not None), middle(along))
        start = min(max(centre - height / 2, along[0]), max(along[1] - height, along[0]))
        return start, start + height

    def size(self) -> tuple[float, float]:
        """Return the width and the height of the drawing."""
        length = self.along()[-1][1] + 2 * self.pad + self.margin
        depth = self.across()[-1][1] + self.around + self.margin
        return (depth, length) if self.tall else (length, depth)

    def xy(self, along: float, across: float) -> Span:
        """Turn a place into x and y."""
        return (across, along) if self.tall else (along, across)


def behind_each_other(at: float, sizes: tuple[float, ...], gaps: tuple[float, ...]) -> list[Span]:
    """Lay sizes behind each other, with gaps."""
    found = []
    for size, gap in zip(sizes, (*gaps, 0.0), strict=True):
        found.append((at, at + size))
        at += size + gap
    return found


#: As wide as the column of text on a laptop and on paper.
WIDE = Layout(
    steps=(64, 72, 63, 64, 37, 20, 62, 60, 50, 52),
    step_gaps=(18, 9, 15, 8, 6, 15, 9, 9, 9),
    lanes=(46, 62, 62, 46),
    lane_gaps=(36, 36, 36),
    pad=5,
)
SMALL = WIDE._replace(lanes=(18, 26, 26, 18), lane_gaps=(13, 14, 13), pad=3, brief=True, around=6)
#: As wide as the column of text on a telephone.
TALL = Layout(
    steps=(36, 36, 64, 50, 38, 16, 50, 50, 50, 50),
    step_gaps=(36, 13, 19, 11, 4, 19, 13, 14, 14),
    lanes=(74, 73, 73, 74),
    lane_gaps=(17, 15, 19),
    pad=4,
    tall=True,
    margin=2,
    head=16,
    around=6,
)


def shared(one: Span, other: Span) -> float | None:
    """Return the middle of what two spans have in common."""
    start, end = max(one[0], other[0]), min(one[1], other[1])
    return (start + end) / 2 if start < end else None


def middle(span: Span) -> float:
    """Return the middle of a span."""
    return (span[0] + span[1]) / 2


def facing(one: Span, other: Span) -> Span:
    """Return the ends of two spans that look at each other."""
    return (one[1], other[0]) if one[1] <= other[0] else (one[0], other[1])


def route(layout: Layout, arrow: Arrow) -> list[Span]:
    """Return the points of an arrow, along and across."""
    places = {box.key: layout.place(box) for box in BOXES}
    start, end = places[arrow.start], places[arrow.end]
    at_start, at_end = middle(start.along), middle(end.along)
    if arrow.around:
        outer = max(start.across[1], end.across[1]) + layout.around
        return [
            (at_start, start.across[1]), (at_start, outer), (at_end, outer), (at_end, end.across[1])
        ]  # fmt: skip
    if (across := shared(start.across, end.across)) is not None:
        return [(along, across) for along in facing(start.along, end.along)]
    out, into = facing(start.across, end.across)
    if (along := shared(start.along, end.along)) is not None:
        return [(along, out), (along, into)]
    between = out + (into - out) * 0.65
    return [(at_start, out), (at_start, between), (at_end, between), (at_end, into)]


def drawn(layout: Layout, arrow: Arrow) -> str:
    """Draw an arrow with its head."""
    points = [layout.xy(*point) for point in route(layout, arrow)]
    (x0, y0), (x1, y1) = points[-2:]
    length = abs(x1 - x0) + abs(y1 - y0)
    right, down = (x1 - x0) / length, (y1 - y0) / length
    head = 3.2 if layout.brief else 4.5
    back = x1 - head * right, y1 - head * down
    side = head * 0.62
    corners = [
        (x1, y1),
        (back[0] - side * down, back[1] + side * right),
        (back[0] + side * down, back[1] - side * right),
    ]
    points[-1] = back
    line = "L".join(f"{x:g} {y:g}" for x, y in points)
    tip = "L".join(f"{x:.2f} {y:.2f}" for x, y in corners)
    kind = ' class="dashed"' if arrow.dashed else ""
    return f'<path{kind} d="M{line}"/><path class="tip" d="M{tip}Z"/>'


def lines(layout: Layout, box: Box, width: float) -> list[tuple[str, str]]:
    """Return the lines of a box, each with its kind; what is too long breaks."""
    room = int((width - 2) / LETTER)
    if layout.brief:
        return [("name", box.name)]
    said = [
        (kind, line)
        for kind, words in (("name", box.name), ("note", box.note))
        for line in textwrap.wrap(words, room, break_long_words=False)
    ]
    return [*said, *([("shape", box.shape)] if box.shape else [])]


def text(kind: str, x: float, y: float, said: str) -> str:
    """Write a line."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(said)}</text>'


def written(layout: Layout, box: Box) -> list[str]:
    """Write what stands in a box, or on a frame."""
    place = layout.place(box)
    (x0, y0), (x1, y1) = (layout.xy(*corner) for corner in zip(*place, strict=True))
    if box.frame:  # on its last step; the model's name between the towers, where no arrow comes
        whole = box.lanes > 1
        along = place.along[0] + (-10 if layout.tall else 42)
        across = layout.across()[box.lane][1] + layout.lane_gaps[box.lane] / 2
        if not whole:
            along = middle(layout.along()[box.step + box.steps - 1])
            across = middle(place.across)
        x, y = layout.xy(along, across)
        return [] if whole and layout.brief else [text("label", x, y + 4, box.name)]
    said = lines(layout, box, x1 - x0)
    top = (y0 + y1) / 2 - LINE * (len(said) - 1) / 2 + 4
    return [
        text(kind, (x0 + x1) / 2, top + LINE * row, line) for row, (kind, line) in enumerate(said)
    ]


def headed(layout: Layout) -> list[str]:
    """Write the name of each tower above the box in which it begins."""
    found = []
    for lane, name in TOWERS.items():
        (x0, y0), (x1, _) = (
            layout.xy(*corner)
            for corner in zip(layout.along()[0], layout.across()[lane], strict=True)
        )
        found.append(text("tower", (x0 + x1) / 2, y0 - 7, name))
    return found


def shown(layout: Layout, box: Box, here: bool, link: Link | None) -> str:
    """Draw a box, with its link if it has one."""
    place = layout.place(box)
    (x0, y0), (x1, y1) = (layout.xy(*corner) for corner in zip(*place, strict=True))
    kinds = ["frame" if box.frame else "box"]
    kinds += ["added"] * (box.lane not in (VISION, TEXT)) + ["here"] * here
    inside = (
        f'<rect x="{x0:g}" y="{y0:g}" width="{x1 - x0:g}" height="{y1 - y0:g}" '
        f'rx="{4 + 2 * box.frame}"/>' + "".join(written(layout, box))
    )
    if link is None:
        return f'<g class="{" ".join(kinds)}">{inside}</g>'
    words = [box.name] if box.frame else [line for _, line in lines(layout, box, x1 - x0)]
    title = escape(f"{' '.join(words)}: {link.title}")  # read out, and seen by who points there
    return (
        f'<a class="{" ".join(kinds)}" href="{escape(link.address)}">'
        f"<title>{title}</title>{inside}</a>"
    )


def svg(layout: Layout, links: dict[int, Link] | None = None, here: int | None = None) -> str:
    """Draw the map: with links, or for the head of a chapter with its boxes filled."""
    width, height = layout.size()
    boxes = {
        box.key: shown(layout, box, here in box.chapters, links[box.chapters[0]] if links else None)
        for box in BOXES
    }
    frames = [boxes[box.key] for box in BOXES if box.frame]
    others = [boxes[box.key] for box in BOXES if not box.frame]
    arrows = "".join(drawn(layout, arrow) for arrow in ARROWS)
    towers = "" if layout.brief else "".join(headed(layout))
    label = told() if here is None else f"A small drawing of CLIP. {you_are_here(here)}"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="{"group" if links else "img"}" '
        f'aria-label="{escape(label)}">{"".join(frames)}<g class="arrows">{arrows}</g>'
        f"{''.join(others)}{towers}</svg>"
    )


def you_are_here(number: int) -> str:
    """Say which part of CLIP a chapter is about."""
    return f"You are here: {listed([box.said for box in of_chapter(number)])}."


def whole(links: dict[int, Link]) -> str:
    """Return the map of the first page, wide and tall; the style sheet shows the one that fits."""
    return (
        f'<div class="clip-map"><div class="wide">{svg(WIDE, links)}</div>'
        f'<div class="tall">{svg(TALL, links)}</div></div>'
    )


def small(number: int) -> str:
    """Return the map at the head of a chapter; on a telephone it is folded."""
    return (
        f'<div class="clip-map small"><div class="wide">{svg(SMALL, here=number)}</div>'
        '<details class="tall"><summary>Where are we?</summary>'
        f"<p>{escape(you_are_here(number))}</p>{svg(TALL, here=number)}</details></div>"
    )
