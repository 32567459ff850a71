"""One stored chain, drawn to the letter: as text in two widths, and as HTML."""

# ruff: noqa: RUF001 (× is what the tracer prints)

import html
import re

import pytest

from clipnotes.trace import Trace
from clipnotes.trace.html import page_html, tree_html
from clipnotes.trace.text import fold, tree_text, value_text

FAILED = {"raised": "ValueError: no luck"}
LEGEND = (
    "#n: the same numbers in the same memory, unchanged.  own: parameters of the module itself."
)


def stored(path, name, calls=(), **known):
    unknown = {"arguments": {}, "unset": [], "returned": None, "raised": None}
    unknown |= {"parameters": 0, "file": None, "line": None}
    return {"path": path, "class": name, **unknown, **known, "calls": list(calls)}


def tensor(*shape, mark=None):
    return {"type": "Tensor", "shape": list(shape), "dtype": "float32", "mark": mark}


def several(kind, *values, names="0123"):
    return {"type": kind, "fields": dict(zip(names, values, strict=False))}


def written(text):
    return {"type": "float", "text": text}


def layer(i, mark):
    scale = stored(f"layers.{i}.norm.scale", "Scale")
    norm = stored(f"layers.{i}.norm", "Norm", [scale], returned=tensor(2, 4), parameters=8)
    return stored(
        *(f"layers.{i}", "Layer", [norm]),
        arguments={"x": tensor(2, 4, mark=mark), "eps": written("0.5")},
        unset=["mask"],
        returned=tensor(2, 4, mark=mark + 1),
        file="<cell>",
        line=12,
    )


def chain():
    down = stored("head.deep.down", "Down", **FAILED)
    deep = stored("head.deep", "Deep", [down], **FAILED)
    source = {"file": "pkg/sub/head_of_the_model.py", "line": 7}
    head = stored("head", "Head", [deep], **FAILED, parameters=1234, **source)
    model = stored(
        *("", "Model", [layer(0, 1), layer(1, 2), head]),
        arguments={
            "x": tensor(2, 4, mark=1),
            "hidden_states_of_another_model": several("tuple", *[tensor(2, 4)] * 3),
        },
        unset=["mask", "flag"],
        **FAILED,
        parameters=1,
        file="pkg/model.py",
        line=3,
    )
    return model | {"notes": ["1 of 9 modules is in <training> mode"]}


WIDE = """\
note: 1 of 9 modules is in <training> mode
Model  1 own                                                model.py:3
│ given  x=float32[2, 4] #1,
│        hidden_states_of_another_model=(3 × float32[2, 4])
│ unset  mask, flag
│ raised ValueError: no luck
├─layers.0 … 1 ×2  Layer                                     <cell>:12
│ │ given  x=float32[2, 4] #1, eps=0.5
│ │ unset  mask
│ │ gave   float32[2, 4] #2
│ │ last   float32[2, 4] #3
│ └─layers.0.norm  Norm  8 own
│   │ given  nothing
│   │ gave   float32[2, 4]
│   └─layers.0.norm.scale  Scale
│       given  nothing
│       gave
└─head  Head  1,234 own                         head_of_the_model.py:7
  │ given  nothing
  │ raised ValueError: no luck
  └─head.deep  Deep
    │ given  nothing
    │ raised ValueError: no luck
    └─head.deep.down  Down
        given  nothing
        raised ValueError: no luck
#n: the same numbers in the same memory, unchanged.  own: parameters
of the module itself."""

NARROW = """\
note: 1 of 9 modules is in
<training> mode
Model  1 own        model.py:3
│ given  x=float32[2, 4] #1, h
│        idden_states_of_anoth
│        er_model=(3 × float32
│        [2, 4])
│ unset  mask, flag
│ raised ValueError: no luck
├─layers.0 … 1 ×2  Layer
│ <cell>:12
│ │ given  x=float32[2, 4] #1,
│ │        eps=0.5
│ │ unset  mask
│ │ gave   float32[2, 4] #2
│ │ last   float32[2, 4] #3
│ └─layers.0.norm  Norm  8 own
│   │ given  nothing
│   │ gave   float32[2, 4]
│   └─layers.0.norm.scale
│     Scale
│       given  nothing
│       gave
└─head  Head  1,234 own
  head_of_the_model.py:7
  │ given  nothing
  │ raised ValueError: no luck
  └─head.deep  Deep
    │ given  nothing
    │ raised ValueError: no
    │        luck
    └─head.deep.down  Down
        given  nothing
        raised ValueError: no
               luck
#n: the same numbers in the
same memory, unchanged.  own:
parameters of the module
itself."""

# What stands between the tags, and which branches are unfolded.
SEEN = [
    *("note: 1 of 9 modules is in <training> mode", "Model", "1 own · pkg/model.py:3"),
    *("given", "x=float32[2, 4] #1, hidden_states_of_another_model=(3 × float32[2, 4])"),
    *("unset", "mask, flag", "raised", "ValueError: no luck"),
    *("layers.0 … 1 ×2", "Layer", "<cell>:12", "given", "x=float32[2, 4] #1, eps=0.5"),
    *("unset", "mask", "gave", "float32[2, 4] #2", "last", "float32[2, 4] #3"),
    *("layers.0.norm", "Norm", "8 own", "given", "nothing", "gave", "float32[2, 4]"),
    *("layers.0.norm.scale", "Scale", "given", "nothing", "gave"),
    *("head", "Head", "1,234 own · pkg/sub/head_of_the_model.py:7", "given", "nothing"),
    *("raised", "ValueError: no luck"),
    *("head.deep", "Deep", "given", "nothing", "raised", "ValueError: no luck"),
    *("head.deep.down", "Down", "given", "nothing", "raised", "ValueError: no luck"),
    LEGEND,
]
UNFOLDED = ["Model", "layers.0 … 1 ×2", "head", "head.deep"]  # two levels, and what failed
FOLDED = ["layers.0.norm"]


@pytest.mark.parametrize(("width", "drawn"), [(70, WIDE), (30, NARROW)])
def test_a_chain_is_drawn_as_text(width, drawn):
    assert tree_text(chain(), width=width) == drawn


def test_a_chain_is_drawn_as_html():
    drawn = tree_html(chain())
    body = drawn[drawn.index("</style>") :]
    pieces = (html.unescape(piece).strip() for piece in re.split(r"<[^>]*>", body))
    assert [piece for piece in pieces if piece] == SEEN
    assert re.findall(r"<details open><summary><b>(.*?)</b>", body) == UNFOLDED
    assert re.findall(r"<details><summary><b>(.*?)</b>", body) == FOLDED
    assert re.findall(r'<dd class="clipnotes-unset">(.*?)</dd>', body) == ["mask, flag", "mask"]
    assert body.count("<div") == 2 and drawn.startswith('<div class="clipnotes-trace"><style>')
    assert "<title>Calls of Model</title>" in page_html(chain())


def test_every_note_stands_above_the_chain():
    noted = stored("", "Model") | {"notes": ["one", "two"]}
    assert tree_text(noted).splitlines()[:3] == ["note: one", "note: two", "Model"]
    assert "</style><p>note: one</p><p>note: two</p><div" in tree_html(noted)


def test_a_stored_call_is_a_chain_without_notes():
    again = Trace.from_dict(layer(0, 1))
    assert again.notes == () and str(again).startswith("layers.0  Layer ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({**tensor(), "shape": None}, "float32[?]"),
        (tensor(), "float32[]"),
        ({"type": "Odd"}, "Odd"),
        ({"type": "str", "text": "'a b'"}, "'a b'"),
        (several("tuple"), "()"),
        (several("tuple", tensor(2)), "(float32[2],)"),
        (several("list", tensor(2)), "list(float32[2])"),
        (several("list", tensor(2), tensor(2)), "list(float32[2], float32[2])"),
        (several("dict", written("1"), tensor(2, 3), names="ab"), "dict(a=1, b=float32[2, 3])"),
        (several("tuple", *(tensor(2, mark=i) for i in range(3))), "(3 × float32[2])"),
        (several("tuple", *map(tensor, (2, 3, 4))), "(float32[2], float32[3], float32[4])"),
        (
            several("tuple", *(several("tuple", tensor(2, mark=i)) for i in range(3))),
            "(3 × (float32[2],))",
        ),
    ],
)
def test_a_value_is_written_in_a_line(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("paths", "sizes"),
    [
        (["0", "1", "2"], [3]),
        (["0", "2", "3"], [1, 2]),
        (["1", "0"], [1, 1]),
        (["a", "a", "a"], [3]),
        (["0", "0", "1"], [2, 1]),
        (["0", "1", "1"], [2, 1]),
        (["a.0", "a.1", "b.2"], [2, 1]),
        (["a", "b"], [1, 1]),
        (["a0", "a1"], [1, 1]),
        ([], []),
    ],
)
def test_only_sisters_that_follow_each_other_are_folded(paths, sizes):
    groups = fold([stored(path, "Layer", [stored(f"{path}.norm", "Norm")]) for path in paths])
    assert [len(group) for group in groups] == sizes
    assert [call["path"] for group in groups for call in group] == paths


@pytest.mark.parametrize(
    "other",
    [
        {"class": "Other"},
        {"arguments": {"y": tensor(2, mark=1)}},
        {"arguments": {"x": tensor(3, mark=1)}},
        {"unset": ["mask"]},
        {"returned": None},
        {"raised": "ValueError"},
        {"parameters": 7},
        {"file": "b.py"},
        {"line": 4},
        {"calls": []},
        {"calls": [stored("1.other", "Norm")]},
    ],
    ids=str,
)
def test_sisters_that_differ_are_not_folded(other):
    def sister(i):
        known = {"arguments": {"x": tensor(2, mark=i)}, "returned": tensor(2, mark=i + 1)}
        return stored(f"{i}", "Layer", [stored(f"{i}.norm", "Norm")], **known, file="a.py", line=3)

    assert len(fold([sister(0), sister(1)])) == 1  # only which tensors they saw
    assert len(fold([sister(0), sister(1) | other])) == 2


def test_deep_branches_share_sixty_columns():
    deep = stored("x", "Deep")
    for _ in range(40):
        deep = stored("x", "Deep", [deep])
    heads = [line for line in tree_text(deep).splitlines() if line.endswith("x  Deep")]
    assert [line.index("x") for line in heads] == [min(2 * depth, 60) for depth in range(41)]
    assert [line.startswith("…") for line in heads] == [depth > 30 for depth in range(41)]


@pytest.mark.parametrize(
    ("width", "drawn"),
    [(14, "Model   a.py:3\n"), (13, "Model  a.py:3\n"), (12, "Model\na.py:3\n")],
)
def test_the_source_stands_two_columns_away_or_on_a_line_of_its_own(width, drawn):
    assert tree_text(stored("", "Model", file="pkg/a.py", line=3), width).startswith(drawn)


def test_a_long_head_goes_on_below_itself():
    long = stored("encoder.layers.0", "SelfAttention", parameters=1234)
    lines = tree_text(stored("", "Model", [long, stored("head", "Head")]), width=20).splitlines()
    assert lines[3:6] == ["├─encoder.layers.0", "│ SelfAttention", "│ 1,234 own"]


def test_lines_are_broken_between_arguments_and_not_inside_one():
    given = {"part": written("slice(1, 2, None)"), "side": written("'left-handed or not'")}
    lines = tree_text(stored("", "Model", arguments=given), width=52).splitlines()
    assert lines[1:3] == [
        *("  given  part=slice(1, 2, None),", "         side='left-handed or not'")
    ]
