"""The drawing of CLIP on the first page and on top of every chapter."""

import itertools
import re

import pytest
from bs4 import BeautifulSoup

from _ext import clip_drawing
from _ext.clip_drawing import SMALL, TALL, WIDE, middle
from _tools import clip_map
from repository import ROOT, pages_in_toc

STYLE = ROOT / "book" / "_static" / "clipnotes.css"
NUMBERS = sorted(
    int(page.split("/")[-1][:2]) for page in pages_in_toc() if page.startswith("book/chapters/")
)
LINKS = {n: clip_drawing.Link(f"chapters/{n:02}.html", f"chapter {n}, A & B") for n in NUMBERS}
LAYOUTS = pytest.mark.parametrize("layout", [WIDE, TALL, SMALL], ids=["wide", "tall", "small"])
PLAIN = [box for box in clip_map.BOXES if not box.frame]


# The table


def test_every_chapter_has_a_box_and_every_box_a_chapter():
    named = {number for box in clip_map.BOXES for number in box.chapters}
    assert named == set(NUMBERS)
    led_to = {box.chapters[0] for box in clip_map.BOXES}
    assert led_to == set(NUMBERS), "the first page leads to every chapter"


def test_every_box_has_its_arrows():
    keys = [box.key for box in clip_map.BOXES]
    assert len(set(keys)) == len(keys)
    ends = {key for arrow in clip_map.ARROWS for key in (arrow.start, arrow.end)}
    assert ends | {"clip", "houses"} == set(keys)  # other models stand apart


def test_both_inputs_reach_the_loss_and_prompts_enter_on_the_way():
    """The arrows lead where the forward does: a frame passes on what is inside it."""
    leads = {}
    for arrow in clip_map.ARROWS:
        leads.setdefault(arrow.start, set()).add(arrow.end)
    leads["mlp"], leads["text mlp"] = {"layers"}, {"text layers"}

    def reached(start):
        found, waiting = set(), [start]
        while waiting:
            new = leads.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found

    assert {"tokens", "attention", "layers", "pooled", "image", "loss", "llm"} <= reached("pixels")
    assert {"embeddings", "causal", "text layers", "end", "text", "loss"} <= reached("ids")
    assert not {"pooled", "loss"} & reached("llm")
    assert "text tokens" in reached("prompts") and "tokens" in reached("visual")
    assert "prompts" in reached("few")


# The drawings


def meet(one, other):
    return all(max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(one, other, strict=True))


@LAYOUTS
def test_no_box_covers_another_or_leaves_the_drawing(layout):
    places = {box.key: layout.place(box) for box in clip_map.BOXES}
    for one, other in itertools.combinations(PLAIN, 2):
        assert not meet(places[one.key], places[other.key]), (one.key, other.key)
    width, height = layout.size()
    for place in places.values():
        (x0, y0), (x1, y1) = (layout.xy(*corner) for corner in zip(*place, strict=True))
        assert 0 < x0 < x1 < width
        assert 0 < y0 < y1 < height
    assert not meet(places["layers"], places["text layers"])
    for frame in (box for box in clip_map.BOXES if box.frame):
        inside = [box for box in PLAIN if meet(places[box.key], places[frame.key])]
        assert inside
        for box in inside:
            for outer, inner in zip(places[frame.key], places[box.key], strict=True):
                assert outer[0] < inner[0] < inner[1] < outer[1], (frame.key, box.key)


@LAYOUTS
def test_arrows_go_from_edge_to_edge_and_straight(layout):
    places = {box.key: layout.place(box) for box in clip_map.BOXES}
    for arrow in clip_map.ARROWS:
        points = clip_drawing.route(layout, arrow)
        for end, (along, across) in ((arrow.start, points[0]), (arrow.end, points[-1])):
            place = places[end]
            assert place.along[0] <= along <= place.along[1], arrow
            assert place.across[0] <= across <= place.across[1], arrow
            assert along in place.along or across in place.across, arrow
        for (a0, c0), (a1, c1) in itertools.pairwise(points):
            assert (a0 == a1) != (c0 == c1), arrow
            between = (middle((a0, a1)), middle((c0, c1)))
            for box in PLAIN:
                along, across = places[box.key]
                hit = along[0] < between[0] < along[1] and across[0] < between[1] < across[1]
                assert not hit, f"{arrow} runs through {box.key}"


def test_a_small_drawing_fits_above_the_first_words():
    assert SMALL.size()[1] <= 140


def test_every_colour_comes_from_the_theme():
    drawings = [clip_drawing.whole(LINKS), *map(clip_drawing.small, NUMBERS)]
    for drawing in drawings:
        for attribute in ("style=", "fill=", "stroke=", "id="):
            assert f" {attribute}" not in drawing
    css = STYLE.read_text(encoding="utf-8")
    block = css[css.index("/* The drawing of CLIP") :]
    colours = re.findall(r"(?:fill|stroke|color|background(?:-color)?): ([^;]+);", block)
    assert len(colours) > 8
    assert {one for one in colours if not re.fullmatch(r"var\(--pst-color-[\w-]+\)", one)} == {
        "none"
    }


def test_each_box_is_a_link_whose_name_holds_what_is_written_in_it():
    soup = BeautifulSoup(clip_drawing.whole(LINKS), "html.parser")
    for drawing in soup.select("svg"):
        assert drawing["role"] == "group"
        assert drawing["aria-label"] == clip_map.told()
        links = drawing.select("a")
        assert len(links) == len(clip_map.BOXES)
        for link in links:
            written = " ".join(one.get_text() for one in link.select("text"))
            assert link.title.get_text() == f"{written}: {LINKS[int(link['href'][9:11])].title}"
        led = {link["href"] for link in links}
        assert led == {link.address for link in LINKS.values()}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_chapter_fills_its_boxes_and_says_so_in_words(number):
    soup = BeautifulSoup(clip_drawing.small(number), "html.parser")
    mine = clip_map.of_chapter(number)
    assert mine
    for drawing in soup.select("svg"):
        assert drawing["role"] == "img"
        filled = drawing.select(".here")
        assert 0 < len(filled) == len(mine) < len(drawing.select("rect"))
        assert all(box.said in drawing["aria-label"] for box in mine)
        assert not drawing.select("a")
    assert soup.details.p.get_text() == clip_drawing.you_are_here(number)


def test_where_you_are_is_said_as_a_sentence():
    assert clip_map.listed(["a"]) == "a"
    assert clip_map.listed(["a", "b"]) == "a and b"
    assert clip_map.listed(["a", "b", "c"]) == "a, b and c"
