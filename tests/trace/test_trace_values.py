"""The call tracer: how it describes what is passed and returned."""

import dataclasses
from collections import namedtuple

import pytest
import torch
from torch import nn

from clipnotes.trace import trace
from tracing import stack, x

Point = namedtuple("Point", "x y")


@dataclasses.dataclass
class Config:
    size: int = 3
    later: int = dataclasses.field(init=False)  # nobody sets it


@dataclasses.dataclass
class OfAModel(Config):
    model_type = "clip"


def described(value):
    return trace(nn.Identity().eval(), value).arguments["input"]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (torch.zeros(2), "Tensor", None),
        (nn.Parameter(torch.zeros(2)), "Parameter", None),
        (None, "NoneType", "None"),
        (0.5, "float", "0.5"),
        (slice(1, 2), "slice", "slice(1, 2, None)"),
        (torch.float16, "dtype", "torch.float16"),
        ("a" * 38, "str", repr("a" * 38)),  # 40 characters with the quotes
        ("a" * 39, "str", "'" + "a" * 38 + "…"),
        (torch.Generator(), "Generator", None),
        (Config, "type", None),
        (OfAModel(), "OfAModel", None),  # it has forty fields, and none of them is a tensor
    ],
)
def test_a_value_has_its_class_and_a_short_text(value, kind, text):
    found = described(value)
    assert (found.type, found.text, found.fields) == (kind, text, None)


@pytest.mark.parametrize(
    ("value", "kind", "inside"),
    [
        (Point(1, "a"), "Point", {"x": "1", "y": "'a'"}),
        (Config(), "Config", {"size": "3", "later": "None"}),
        ({3: True}, "dict", {"3": "True"}),
        ([1, None], "list", {"0": "1", "1": "None"}),
        ((), "tuple", {}),
    ],
)
def test_what_holds_values_is_looked_into(value, kind, inside):
    found = described(value)
    assert found.type == kind
    assert {name: item.text for name, item in found.fields.items()} == inside


def test_a_list_that_contains_itself_ends_after_five():
    endless = []
    endless.append(endless)
    value, deep = described(endless), 0
    while value.fields is not None:
        value, deep = value.fields["0"], deep + 1
    assert (value.type, deep) == ("list", 5)


def test_layers_with_forwards_of_their_own_have_the_names_of_their_own():
    layers = nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity()).eval()
    layers[0].forward = lambda image: image
    layers[1].forward = lambda text, mask=None: text
    calls = trace(layers, x()).calls
    assert [[*call.arguments, *call.unset] for call in calls] == [
        *(["image"], ["text", "mask"], ["input"])
    ]


def test_arguments_that_a_layer_does_not_take_are_shown():
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return self.inner(x, "more", scale=2)

    with pytest.raises(TypeError) as caught:
        trace(Wrong().eval(), x())
    arguments = caught.value.calls.find("inner").arguments
    assert list(arguments) == ["input", "args[0]", "scale"]
    assert (arguments["args[0]"].text, arguments["scale"].text) == ("'more'", "2")


def test_only_a_tensor_seen_again_has_a_mark():
    calls = trace(stack(), x())
    assert calls.arguments["x"].mark == calls.calls[0].arguments["hidden_states"].mark == 1
    assert calls.returned.fields["0"].mark is None


def test_two_sparse_tensors_are_not_one():
    class Both(nn.Module):
        def forward(self, one, other, again):
            return None

    one, other = torch.eye(3).to_sparse(), torch.eye(3).to_sparse()
    arguments = trace(Both().eval(), one, other, one).arguments
    assert [value.mark for value in arguments.values()] == [1, None, 1]
