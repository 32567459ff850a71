"""The rooms of the package: the architecture page's table, the imports, and the drawing of both."""

import graphlib
import itertools
import re

import pytest

from _ext import rooms_drawing
from _tools import rooms
from repository import ROOT, text_of

SOURCES = rooms.modules()
FLOORS = rooms.floors()


def upwards(imports, floors):
    """Name each import that does not lead to a lower floor."""
    return [
        f"{here} imports {there}"
        for here, names in imports.items()
        for there in sorted(names)
        if floors[there] >= floors[here]
    ]


def test_the_page_names_every_room_and_no_other():
    named = [name for _, names in rooms.rows(text_of(rooms.PAGE)) for name in names]
    there = {path.name for path in (ROOT / "clipnotes").iterdir()} - {"__init__.py", "__pycache__"}
    assert sorted(named) == sorted(there), "a new room needs a row in the table"
    assert set(FLOORS) == set(rooms.imports(SOURCES))
    assert len(there) < 28, "with __init__.py, 28 are as many as one takes in"


def test_imports_point_downwards():
    assert upwards(rooms.imports(SOURCES), FLOORS) == []
    sources = {"clipnotes.data": "def f():\n from clipnotes import plots", "clipnotes.plots": ""}
    imports = rooms.imports(sources)
    assert imports == {"data": {"plots"}, "plots": set()}
    assert upwards(imports, {"data": 1, "plots": 1}) == ["data imports plots"]
    assert upwards(imports, {"data": 1, "plots": 0}) == []
    for hidden in ("from . import plots", "from ..plots import heat"):
        with pytest.raises(ValueError, match="line 1 imports relatively"):
            rooms.imports({"clipnotes.data": hidden})


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        name: {one for one in rooms.imported(source, SOURCES) if one in SOURCES and one != name}
        for name, source in SOURCES.items()
    }
    graph.pop("clipnotes")  # its names are looked up when asked for
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the circle


def test_the_rooms_of_prompts_import_one_way():
    """Saving, classifiers, training, methods: each may import from those before it."""
    order = ["saved", "classifier", "learner", "training", "methods"]

    def floor(module):
        room = [*module.split("."), ""][2]
        return order.index(room) if room in order else -1  # -1: what all of them are built on

    for name, source in SOURCES.items():
        if name.startswith("clipnotes.prompts."):
            for other in rooms.imported(source, SOURCES):
                if (
                    other.startswith("clipnotes.prompts.")
                    and name.split(".")[2] != other.split(".")[2]
                ):
                    assert floor(other) < max(floor(name), 0), f"{name} imports {other}"


@pytest.mark.parametrize(
    ("arrows", "left"),
    [
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, {"a": {"b"}, "b": {"c"}, "c": set()}),
        ({"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}, {"a": {"b"}}),
        ({"a": {"b", "c"}, "b": set(), "c": set()}, {"a": {"b", "c"}}),
    ],
)
def test_an_arrow_that_others_imply_is_left_out(arrows, left):
    assert rooms.needed(arrows) == arrows | left


def test_the_drawing_has_a_box_a_room_and_says_in_words_what_it_shows():
    arrows = {"low": set(), "plots": {"low"}, "trace": {"low"}, "top": {"low", "plots", "trace"}}
    floors = {"low": 0, "plots": 1, "trace": 1, "top": 2}
    drawing = rooms_drawing.svg(floors, arrows)
    assert drawing.count("<rect") == 4
    assert drawing.count("<path") == 4  # the one from top to low is implied
    assert 'role="img"' in drawing
    assert "floor 1: plots, trace" in drawing and "top uses low, plots, trace" in drawing
    tops = {name: float(y) for y, name in re.findall(r'y="([\d.]+)">(\w+)</text>', drawing)}
    assert tops["top"] < tops["plots"] == tops["trace"] < tops["low"]


def test_no_box_of_the_drawing_covers_another_or_leaves_it():
    corners, _, height = rooms_drawing.lay_out(FLOORS)
    assert corners.keys() == FLOORS.keys()
    places = sorted(corners.values(), key=lambda place: (place[1], place[0]))
    assert all(0 <= x <= rooms_drawing.WIDTH - rooms_drawing.BOX_WIDTH for x, _ in places)
    assert max(y for _, y in places) + rooms_drawing.BOX_HEIGHT <= height
    for (x, y), (next_x, next_y) in itertools.pairwise(places):
        assert next_y >= y + rooms_drawing.BOX_HEIGHT or next_x >= x + rooms_drawing.BOX_WIDTH
    longest = max(map(len, FLOORS))
    assert longest * 6.6 <= rooms_drawing.BOX_WIDTH, "letters are 0.6 of 11 units wide"
