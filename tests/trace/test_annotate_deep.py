"""Annotated source with all that it calls: the calls of the call chain, each in its place."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from annotated import assert_same_calls
from clipnotes.compat import eager_attention
from clipnotes.trace.annotation import annotate
from clipnotes.trace.text import TIMES
from tracing import clip_inputs


@pytest.fixture
def inputs(tiny):
    return clip_inputs(tiny)


@pytest.fixture
def notes(tiny, inputs):
    return annotate(tiny, **inputs, deep=True)


def test_every_call_of_the_chain_is_there_with_the_same_shapes(tiny, inputs, notes):
    assert assert_same_calls(notes, tiny, inputs) > 25


def test_the_source_says_where_each_one_is_called(notes):
    known = 0
    for above in notes.walk():
        lines = above.to_dict()["lines"]
        for called in above.to_dict()["inside"]:
            name = called["title"].rpartition(".")[2]
            statement = next(
                s for s in above.to_dict()["statements"] if s["first"] == called["statement"]
            )
            code = "\n".join(lines[statement["first"] : statement["last"] + 1])
            name = called["path"].rpartition(".")[2] if name == "forward" else name
            if called["callee"] is None:
                continue
            known += 1
            line, start, last, end = called["callee"]
            assert line == last
            text = lines[line][start:end]
            assert text in code
            assert text.rpartition(".")[2] == name or name.isdigit() or "attention" in text, text
    assert known > 20 or sys.version_info < (3, 11)


def test_a_tensor_has_one_mark_wherever_it_goes(notes):
    encoder = notes.find("vision_model.encoder")
    layer = notes.find("vision_model.encoder.layers.0")
    mlp = notes.find("vision_model.encoder.layers.0.mlp")

    def of(notes, beginning):
        made = notes.to_dict()
        return [
            s for s in made["statements"] if made["lines"][s["first"]].strip().startswith(beginning)
        ]

    (begin,) = of(encoder, "hidden_states = inputs_embeds")
    mark = begin["made"]["hidden_states"]["mark"]
    assert mark is not None
    assert encoder.to_dict()["arguments"]["inputs_embeds"]["mark"] == mark
    assert layer.to_dict()["arguments"]["hidden_states"]["mark"] == mark
    first, second = of(layer, "residual = hidden_states")
    assert first["marks"] == {"hidden_states": mark}
    assert first["made"]["residual"]["mark"] == mark != second["made"]["residual"]["mark"]
    (called,) = of(layer, "hidden_states = self.mlp")
    assert called["marks"]["hidden_states"] == mlp.to_dict()["arguments"]["hidden_states"]["mark"]
    (returned,) = of(mlp, "return")
    assert returned["returned"]["mark"] == called["made"]["hidden_states"]["mark"]


def test_functions_of_the_models_own_file_are_there(tiny, inputs):
    with eager_attention(tiny), torch.no_grad():
        plain = tiny(**inputs)
        notes = annotate(tiny, **inputs, deep=True)
    torch.testing.assert_close(
        notes.output.logits_per_image, plain.logits_per_image, atol=0, rtol=0
    )
    assert sys.gettrace() is None or "clipnotes" not in str(sys.gettrace())
    titles = {one.title for one in notes.walk()}
    assert "_get_vector_norm" in titles or "CLIPAttention.forward" in titles
    attention = notes.find("CLIPAttention").to_dict()
    inside = [one["title"] for one in attention["inside"]]
    if "eager_attention_forward" not in inside:  # in 4.49 the class computes it itself
        assert any("softmax" in line for line in attention["lines"])


# On modules made for it


def scale(x, factor):
    return x * factor


class Block(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.linear, self.factor = nn.Linear(4, 4), factor

    def forward(self, x):
        if self.factor > 2:
            x = x + 1
        x = F.normalize(self.linear(x))
        return scale(x, self.factor)


class Blocks(nn.Module):
    def __init__(self, factors):
        super().__init__()
        self.blocks = nn.ModuleList(Block(factor) for factor in factors)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        for number in range(2):
            x = self.blocks[0](x) + number
        return [self.blocks[0](row[None]) for row in x], x


def spans(notes):
    return [(one.path, one.last_path, one.times) for one in notes.inside]


def test_layers_that_ran_alike_are_folded_and_others_are_not():
    notes = annotate(Blocks([1, 1, 3, 3, 3]), torch.ones(2, 4), deep=True)
    assert spans(notes) == [
        ("blocks.0", "blocks.1", 2),
        ("blocks.2", "blocks.4", 3),
        ("blocks.0", "blocks.0", 2),
        ("blocks.0", "blocks.0", 2),
    ]
    assert [one.title for one in notes.inside[1].inside] == ["Linear.forward", "scale"]
    text = str(notes)
    assert f"blocks.0 … 1 {TIMES}2  Block.forward  test_annotate_deep.py:" in text
    assert f"blocks.2 … 4 {TIMES}3  Block.forward  as above, but" in text
    later = text.split(f"blocks.2 … 4 {TIMES}3  Block.forward")[1].split("\n\n")[0]
    assert "if self.factor > 2:  taken" in later, "what differs is shown"
    assert "return scale" not in later, "and nothing else"


def test_other_functions_are_annotated_if_they_are_asked_for():
    notes = annotate(Blocks([1]), torch.ones(2, 4), deep=True, functions=[F.normalize])
    assert [one.title for one in notes.inside[0].inside] == ["Linear.forward", "normalize", "scale"]
    assert notes.find("normalize").path == "blocks.0"
    with pytest.raises(LookupError, match=r"no notes of 'softmax'. There are Blocks\.forward"):
        notes.find("softmax")
    with pytest.raises(ValueError, match="give deep=True"):
        annotate(Blocks([1]), torch.ones(2, 4), functions=[scale])
    with pytest.raises(ValueError, match="relu is not written in Python"):
        annotate(Blocks([1]), torch.ones(2, 4), deep=True, functions=[torch.relu])


def test_an_error_below_carries_the_notes_down_to_there():
    with pytest.raises(RuntimeError) as caught:
        annotate(Blocks([1, 1]), torch.ones(2, 3), deep=True)
    linear = caught.value.notes.find("blocks.0.linear").to_dict()
    assert [s["raised"] is not None for s in linear["statements"] if s["ran"]] == [True]
    assert "raised RuntimeError" in str(caught.value.notes)


def test_without_deep_nothing_is_inside():
    notes = annotate(Blocks([1]), torch.ones(2, 4))
    assert notes.inside == [] and list(notes.walk()) == [notes]


def test_the_deep_notes_of_clip_fit_in_100_columns(notes):
    lines = str(notes).splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)


def test_markdown_has_each_source_once_with_the_notes_as_comments(notes):
    text = notes.to_markdown()
    assert text.count("\n```python\n") == text.count("\n```\n")
    assert text.count("    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:") <= 1
    assert "hidden_states = self.fc2(hidden_states)  # (" in text
    mlp = notes.find("CLIPMLP").to_markdown()
    code = mlp.split("```python\n")[1].split("\n```")[0]
    compile("class C:\n" + "\n".join("    " + line for line in code.splitlines()), "mlp", "exec")
