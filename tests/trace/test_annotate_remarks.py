"""A person's own remarks beside annotated source: at their statements, or an error."""

import pytest
import torch
from torch import nn

from annotated import of
from clipnotes.trace.annotation import annotate


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        y = self.linear(
            x
        )  # fmt: skip
        x = x + y
        y = self.linear(x)
        x = x + y
        return x


ON = {
    "Twice.forward": {
        "def forward": "two steps of one layer",
        "y = self.linear( x )": "the first",
        "x = x + y": ["a residual", "and again"],
    }
}


def test_remarks_stand_at_their_statements():
    notes = annotate(Twice(), torch.ones(2, 4), notes=ON)
    made = notes.to_dict()
    assert made["remark"] == "two steps of one layer"
    assert [s["remark"] for s in made["statements"]] == [
        "the first",
        "a residual",
        None,
        "and again",
        None,
    ]
    text = str(notes).splitlines()
    place = next(i for i, line in enumerate(text) if line.strip().startswith("x = x + y"))
    assert text[place + 1] == "    #> a residual"
    assert "    #> two steps of one layer" in text
    assert "    #> and again" in notes.to_markdown()


def test_remarks_go_inside():
    on = {"Linear.forward": {"return F.linear": "x @ W.T + b"}}
    notes = annotate(Twice(), torch.ones(2, 4), deep=True, notes=on)
    assert [of(one, "return F.linear")["remark"] for one in notes.inside] == ["x @ W.T + b"] * 2


def test_a_long_remark_is_folded():
    notes = annotate(Twice(), torch.ones(2, 4), notes={"Twice.forward": {"return": "word " * 40}})
    assert max(map(len, str(notes).splitlines())) <= 100


@pytest.mark.parametrize(
    ("remarks", "words"),
    [
        ({"Linear.forward": {"return": "one"}}, "'Linear.forward', but what is annotated is Twice"),
        ({"Twice.forward": {"z = ": "one"}}, "no statement of Twice.forward .* begins with 'z = '"),
        (
            {"Twice.forward": {"x = x + y": "one"}},
            "Twice.forward .* has 2 statements .* notes has 1 remark for",
        ),
        (
            {"Twice.forward": {"return": ["a", "b"]}},
            "Twice.forward .* has 1 statement .* notes has 2 remarks for",
        ),
    ],
)
def test_a_remark_without_its_statement_is_an_error(remarks, words):
    with pytest.raises(ValueError, match=words):
        annotate(Twice(), torch.ones(2, 4), notes=remarks)


@pytest.mark.parametrize(
    "remarks",
    [
        "text",
        {"Twice.forward": "text"},
        {"Twice.forward": {"return": 3}},
        {"a": {" ": "b"}},
        {"a": {3: "b"}},
    ],
)
def test_what_is_no_remark_is_refused_before_anything_runs(remarks):
    module = Twice()
    module.register_forward_pre_hook(lambda *call: pytest.fail("it ran"))
    with pytest.raises(TypeError, match="notes"):
        annotate(module, torch.ones(2, 4), notes=remarks)
