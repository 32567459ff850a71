"""The call tracer: what it sees, and how the same tensor is recognised."""

import functools
import inspect
import itertools
import re

import pytest
import torch
from torch import nn

from clipnotes.trace import trace
from tracing import Stack, stack, x

# ruff: noqa: RUF001 (× is what the tracer prints)


# What is seen


def test_the_text_embeddings_get_ids_and_positions_and_nobody_passes_inputs_embeds(calls):
    call = calls.find("CLIPTextEmbeddings")
    assert list(call.arguments) == ["input_ids", "position_ids"]
    assert call.unset == ("inputs_embeds",)
    assert call.path.endswith("embeddings")
    printed = str(calls)
    block = printed[printed.index("CLIPTextEmbeddings") :]
    assert re.search(r"given +input_ids=int64\[2, 4\] #\d+, position_ids=None\n", block)
    assert re.search(r"unset +inputs_embeds\n", block)


def test_emoji_clip_s_chain(request):
    pytest.importorskip("datasets")
    clip = request.getfixturevalue("clip")
    inputs = clip.tokenizer(["a tulip"], return_tensors="pt")
    calls = trace(clip.model, **inputs, pixel_values=torch.zeros(1, 3, 64, 64))
    assert calls.find("CLIPTextEmbeddings").unset == ("inputs_embeds",)
    assert "layers.0 … 5 ×6" in str(calls)


def test_keyword_only_calls_are_seen():
    call = trace(stack(), x()).find("Block")
    assert list(call.arguments) == ["hidden_states", "depth"]
    assert call.arguments["hidden_states"].shape == (2, 4)
    assert call.arguments["depth"].text == "7"
    assert call.unset == ("mask",)


def test_arguments_by_place_get_their_names():
    call = trace(stack(), x(), True, "more", None)
    texts = {name: value.text for name, value in call.arguments.items() if name != "x"}
    assert texts == {"flag": "True", "rest[0]": "'more'", "rest[1]": "None"}
    assert call.unset == ()
    assert trace(stack(), x()).unset == ("flag",)


def test_outputs_are_described_by_field(calls):
    fields = calls.returned.fields
    assert calls.returned.type == "CLIPOutput"
    assert fields["logits_per_image"].shape == (2, 2)
    assert fields["text_model_output"].fields["last_hidden_state"].shape == (2, 4, 16)
    returned = trace(stack(), x()).returned
    assert returned.type == "tuple"
    assert (returned.fields["0"].shape, returned.fields["1"].text) == ((2, 4), "False")
    block = trace(stack(), x()).find("Block").returned
    assert block.fields["weights"].text == "None"


def test_only_a_module_s_own_parameters_count(calls):
    chain = trace(stack(), x())
    counts = [chain.parameters, chain.find("Block").parameters, chain.find("Linear").parameters]
    assert counts == [4, 0, 20]
    assert calls.parameters == 1  # logit_scale


def test_parameters_without_a_shape_do_not_count():
    model = nn.Identity().eval()
    model.waits, model.weight = nn.UninitializedParameter(), nn.Parameter(torch.ones(4))
    assert trace(model, x()).parameters == 4


def test_file_and_line_are_those_of_the_forward_below_decorators(tiny, calls):
    call = trace(stack(), x())
    _, first = inspect.getsourcelines(Stack.forward)
    assert (call.file, call.line) == ("tracing.py", first)
    assert calls.file == "transformers/models/clip/modeling_clip.py"
    for found, cls in ((calls, type(tiny)), (calls.find("CLIPEncoder"), None)):
        path = inspect.getsourcefile(type(tiny))
        with open(path, encoding="utf-8") as file:
            line = file.readlines()[found.line - 1]
        assert line.strip().startswith("def forward(")
        assert cls is None or found.line > inspect.getsourcelines(cls)[1]


def test_a_forward_that_is_not_python_is_seen():
    class Relu(nn.Module):
        forward = staticmethod(torch.relu)

    call = trace(Relu().eval(), x())
    assert list(call.arguments) == ["args[0]"]
    assert (call.file, call.line, call.unset) == (None, None, ())
    assert str(call).startswith("Relu\n")


def test_a_decorator_may_take_more_than_the_function_below():
    def loudly(function):
        @functools.wraps(function)
        def wrapper(*args, loud, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    class Decorated(nn.Module):
        @loudly
        def forward(self, x, y=None):
            return x

    call = trace(Decorated().eval(), x(), loud=True)
    assert list(call.arguments) == ["x", "loud"]
    assert call.unset == ("y",)


def test_the_tree_is_the_nesting_and_the_order():
    paths = [call.path for call in trace(stack(2), x()).walk()]
    assert paths == ["", "layers.0", "layers.0.linear", "layers.1", "layers.1.linear"]


def test_a_module_called_twice_is_two_calls():
    model = nn.Linear(4, 4)
    twice = nn.Sequential(model, nn.ReLU(), model).eval()
    assert [call.path for call in trace(twice, x()).calls] == ["0", "1", "0"]
    assert len(trace(twice, x()).find_all("Linear")) == 2


def test_find_takes_a_class_a_path_and_the_end_of_a_path(calls):
    assert calls.find("CLIPModel") is calls
    layer = calls.find("layers.1")
    assert layer.class_name == "CLIPEncoderLayer"
    assert layer.path.endswith("encoder.layers.1")
    assert calls.find(layer.path) is layer
    assert calls.find_all("ayers.1") == []
    with pytest.raises(LookupError, match="CLIPTextEmbeddings"):
        calls.find("CLIPTextTransformerEmbeddings")
    with pytest.raises(LookupError, match=r"one of the classes Stack, Block, Linear\."):
        trace(stack(), x()).find("Blocks")


def test_the_chain_leads_from_the_top_to_the_first_call_of_a_class(calls):
    names = [call.class_name for call in calls.chain("CLIPTextEmbeddings")]
    assert (names[0], names[-1], len(names)) == ("CLIPModel", "CLIPTextEmbeddings", 3)
    assert calls.chain("CLIPTextEmbeddings")[-1] is calls.find("CLIPTextEmbeddings")
    for caller, called in itertools.pairwise(calls.chain("layers.1.mlp.fc2")):
        assert any(call is called for call in caller.calls)
    assert calls.chain("CLIPModel") == [calls]
    with pytest.raises(LookupError, match="CLIPTextEmbeddings"):
        calls.chain("CLIPTextTransformerEmbeddings")


# Marks


def test_a_tensor_that_is_passed_on_keeps_its_mark(calls):
    embeddings = calls.find("CLIPTextEmbeddings")
    mark = calls.arguments["input_ids"].mark
    assert mark is not None
    assert embeddings.arguments["input_ids"].mark == mark  # though it is a view by then
    encoder = next(c for c in calls.find_all("CLIPEncoder") if "text" in c.path)
    assert encoder.arguments["inputs_embeds"].mark == embeddings.returned.mark != mark
    assert encoder.calls[0].arguments["hidden_states"].mark == embeddings.returned.mark


def test_marks_are_numbered_as_the_tree_is_read(calls):
    values = [v for call in calls.walk() for v in (*call.arguments.values(), call.returned)]
    marks = [tensor.mark for value in values for tensor in value.tensors() if tensor.mark]
    assert list(dict.fromkeys(marks)) == list(range(1, max(marks) + 1))


def test_what_is_written_to_is_another_tensor():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Identity())
    start = trace(model, torch.randn(3)).arguments["input"].mark
    first, relu, last = trace(model, torch.randn(3)).calls
    assert first.returned.mark == relu.arguments["input"].mark == start
    assert relu.returned.mark == last.returned.mark != start


def test_memory_used_again_is_not_the_same_tensor():
    class Drops(nn.Module):
        def __init__(self):
            super().__init__()
            self.look = nn.Identity()

        def forward(self):
            for value in range(20):
                self.look(torch.full((1000,), float(value)))  # freed at once
            return None

    marks = [call.arguments["input"].mark for call in trace(Drops()).calls]
    assert len(set(marks)) == 20  # each is what its own call returned


def test_other_views_of_the_same_memory_are_other_tensors():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.look = nn.Identity()

        def forward(self, x):
            self.look(x.view(x.shape)), self.look(x.t()), self.look(x[:1])

    calls = trace(Views(), torch.randn(3, 3))
    same, *others = (call.arguments["input"].mark for call in calls.calls)
    assert same == calls.arguments["x"].mark
    assert len({same, *others}) == 3


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.empty(2, 3, device="meta"),
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        torch.zeros(2, dtype=torch.complex64).conj(),
        torch.zeros(0),
    ],
    ids=["sparse", "meta", "nested", "conj", "empty"],
)
def test_unusual_tensors_pass(tensor):
    calls = trace(nn.Sequential(nn.Identity()), tensor)
    assert calls.output is tensor
    assert calls.calls[0].returned.mark == calls.arguments["input"].mark == 1
    assert str(calls)


def test_inference_mode_and_func_transforms_pass():
    model = stack()
    with torch.inference_mode():
        assert trace(model, x()).find("Linear").returned.mark is not None
    torch.func.vmap(lambda row: trace(model, row).output[0])(x())
