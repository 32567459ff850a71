"""The call tracer: what it sees, what it leaves as it was, and how it is shown."""

# ruff: noqa: RUF001 (× is what the tracer prints)

import copy
import functools
import inspect
import json
import re
import sys
import threading
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from reference import pixels, tiny_clip
from torch import nn

from clipnotes.trace import Trace, trace
from clipnotes.trace.text import tree_text


class Block(nn.Module):
    """Takes its input by keyword only, as the layers of transformers do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, *, hidden_states, mask=None, **kwargs):
        return {"hidden_states": self.linear(hidden_states), "weights": None}


class Stack(nn.Module):
    def __init__(self, n_layers=3):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(n_layers))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x, flag=False, *rest):
        for layer in self.layers:
            x = layer(hidden_states=x, depth=7)["hidden_states"]
        return x * self.scale, flag


class Fails(nn.Module):
    def forward(self, x):
        raise ValueError("no luck\nat all")


class Catches(nn.Module):
    """Goes on with another module after an error."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Sequential(Fails()), nn.Linear(4, 4)

    def forward(self, x):
        try:
            return self.first(x)
        except ValueError:
            return self.second(x)


def stack(n_layers=3):
    torch.manual_seed(0)
    return Stack(n_layers).eval()


def x():
    return torch.arange(8.0).reshape(2, 4)


def clip_inputs(model):
    ids = torch.tensor([[2, 5, 7, 3], [2, 9, 3, 3]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": pixels(model.config.vision_config, seed=0),
    }


@pytest.fixture(scope="module")
def tiny():
    return tiny_clip(0)


@pytest.fixture(scope="module")
def calls(tiny):
    return trace(tiny, **clip_inputs(tiny))


def hooks_of(model):
    kinds = [name for name in vars(model) if name.endswith(("hooks", "_with_kwargs", "_called"))]
    assert "_forward_hooks" in kinds and "_forward_hooks_always_called" in kinds
    return [list(getattr(module, kind)) for module in model.modules() for kind in kinds]


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


def test_given_positions_are_described(tiny):
    inputs = clip_inputs(tiny)
    call = trace(tiny, **inputs, position_ids=torch.arange(4)[None]).find("CLIPTextEmbeddings")
    assert call.arguments["position_ids"].shape == (1, 4)
    assert call.arguments["position_ids"].dtype == "int64"


def test_keyword_only_calls_are_seen():
    call = trace(stack(), x()).find("Block")
    assert list(call.arguments) == ["hidden_states", "depth"]
    assert call.arguments["hidden_states"].shape == (2, 4)
    assert call.arguments["depth"].text == "7"
    assert call.unset == ("mask",)


def test_arguments_by_place_get_their_names():
    call = trace(stack(), x(), True, "more", None)
    texts = {name: value.text for name, value in call.arguments.items() if name != "x"}
    assert len(trace(stack(), x(), "a" * 300).arguments["flag"].text) == 40
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


def test_file_and_line_are_those_of_the_forward_below_decorators(tiny, calls):
    call = trace(stack(), x())
    _, first = inspect.getsourcelines(Stack.forward)
    assert (call.file, call.line) == ("test_trace.py", first)
    assert calls.file == "transformers/models/clip/modeling_clip.py"
    for found, cls in ((calls, type(tiny)), (calls.find("CLIPEncoder"), None)):
        path = inspect.getsourcefile(type(tiny))
        with open(path, encoding="utf-8") as file:
            line = file.readlines()[found.line - 1]
        assert line.strip().startswith("def forward(")
        assert cls is None or found.line > inspect.getsourcelines(cls)[1]


def test_a_forward_put_on_the_instance_is_seen_through():
    model = nn.Linear(4, 4)
    original = model.forward
    model.forward = functools.update_wrapper(functools.partial(original), original)
    call = trace(model, x())
    assert list(call.arguments) == ["input"]
    assert call.file == "torch/nn/modules/linear.py"


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


def test_a_tensor_seen_once_has_no_mark(calls):
    assert calls.returned.fields["logits_per_text"].mark is None


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


# What is left as it was


@pytest.mark.parametrize("grad", [True, False])
def test_the_output_is_bit_identical(tiny, grad):
    with torch.set_grad_enabled(grad):
        plain = tiny(**clip_inputs(tiny))
        traced = trace(tiny, **clip_inputs(tiny)).output
    assert type(traced) is type(plain)
    assert list(traced) == list(plain)
    for name in ("logits_per_image", "text_embeds", "image_embeds"):
        assert torch.equal(traced[name], plain[name])
        assert traced[name].requires_grad is grad


def test_the_output_is_the_model_s_own_object():
    class Returns(nn.Module):
        def forward(self):
            return self.value

    model = Returns()
    model.value = object()
    assert trace(model).output is model.value


def test_hooks_are_gone(tiny):
    before = hooks_of(tiny)
    trace(tiny, **clip_inputs(tiny))
    assert hooks_of(tiny) == before


def test_hidden_states_are_those_of_a_plain_call(tiny):
    """Since 5.2 transformers records them by hooks of its own."""
    ids = clip_inputs(tiny)["input_ids"]
    model = copy.deepcopy(tiny).text_model
    traced = trace(model, input_ids=ids, output_hidden_states=True).output
    plain = model(input_ids=ids, output_hidden_states=True)
    assert len(traced.hidden_states) == len(plain.hidden_states) == 3
    pairs = zip(traced.hidden_states, plain.hidden_states, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_repeated_trace_is_the_same(tiny, calls):
    assert trace(tiny, **clip_inputs(tiny)) == calls


def test_nested_traces_both_see_the_calls():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = stack(1)

        def forward(self, x):
            self.seen = trace(self.inner, x)
            return self.seen.output

    model = Outer().eval()
    outer = trace(model, x())
    assert [call.path for call in outer.walk()] == [
        *("", "inner", "inner.layers.0", "inner.layers.0.linear")
    ]
    assert [call.path for call in model.seen.walk()] == ["", "layers.0", "layers.0.linear"]
    assert not any(hooks_of(model))


def test_other_threads_do_not_get_in():
    model = stack(1)

    class Busy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            other = threading.Thread(target=model, args=(x,))
            other.start()
            other.join()
            return model(x)

    assert len(trace(Busy().eval(), x()).find_all("Stack")) == 1


def test_training_mode_is_noted_and_draws_the_same_numbers():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    torch.manual_seed(0)
    plain, after_plain = model(x()), torch.get_rng_state()
    torch.manual_seed(0)
    calls = trace(model, x())
    assert torch.equal(calls.output, plain)
    assert torch.equal(torch.get_rng_state(), after_plain)
    assert str(calls).startswith("note: 3 of 3 modules are in training mode")
    assert "training mode" in calls.to_html()
    assert model.training
    assert trace(model.eval(), x()).notes == ()


def test_gradients_flow_through_a_trace():
    model = stack()
    trace(model, x()).output[0].sum().backward()
    traced = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x())[0].sum().backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(traced, model.parameters(), strict=True))


# Errors


def test_an_error_comes_through_with_the_chain_up_to_there():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(Fails()), nn.Linear(4, 4)).eval()
    with pytest.raises(ValueError, match="no luck") as caught:
        trace(model, x())
    assert str(caught.value) == "no luck\nat all"
    calls = caught.value.calls
    assert isinstance(calls, Trace)
    assert [call.path for call in calls.walk()] == ["", "0", "1", "1.0"]
    assert [call.raised for call in calls.walk()] == [
        *("ValueError: no luck", None, "ValueError: no luck", "ValueError: no luck")
    ]
    assert "raised ValueError: no luck" in str(calls)
    assert not any(hooks_of(model))
    if sys.version_info >= (3, 11):
        assert "Raised in 1.0 (Fails)" in caught.value.__notes__[0]


def test_an_interrupt_takes_the_hooks_along():
    class Interrupted(nn.Module):
        def forward(self):
            raise KeyboardInterrupt

    model = nn.ModuleDict({"inner": Interrupted()})["inner"]
    with pytest.raises(KeyboardInterrupt) as caught:
        trace(model)
    assert caught.value.calls.raised == "KeyboardInterrupt"
    assert not any(hooks_of(model))


def test_an_error_that_the_model_catches_is_part_of_the_chain():
    calls = trace(Catches().eval(), x())
    assert [call.path for call in calls.calls] == ["first", "second"]
    assert calls.find("first").raised == "ValueError: no luck"
    assert calls.find("second").raised is calls.raised is None
    try:
        raise KeyError("being handled")
    except KeyError:
        assert trace(Catches().eval(), x()) == calls


def test_the_model_s_own_complaint_shows_where(tiny):
    with pytest.raises(ValueError, match="input_ids") as caught:
        trace(tiny.text_model)
    assert caught.value.calls.unset


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear, "not the class Linear. Make an instance"),
        (None, "not a NoneType. Give a torch.nn.Module"),
        (F.relu, "not a function"),
        (SimpleNamespace(model=nn.Linear(1, 1)), "Give its attribute `model`"),
        (nn.Linear(1, 1).forward, "Give the module itself"),
        (nn.ModuleList([nn.Linear(1, 1)]), "a ModuleList has no forward"),
    ],
)
def test_what_is_no_module_is_refused(model, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        trace(model, x())


def test_arguments_that_do_not_fit_are_refused_before_anything_runs():
    class Bare(nn.Module):
        def forward(self):
            raise AssertionError("must not run")

    with pytest.raises(TypeError, match=r"Bare\.forward takes no arguments.*too many positional"):
        trace(Bare(), x())
    with pytest.raises(TypeError, match=r"takes x, flag, rest; .*missing a required argument: 'x'"):
        trace(stack())
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        trace(stack(), x(), wrong=1)


def test_a_module_without_arguments_is_traced():
    class Bare(nn.Module):
        def forward(self):
            return 1

    calls = trace(Bare())
    assert (calls.output, calls.arguments, calls.unset) == (1, {}, ())
    assert "given  nothing" in str(calls)


def test_compiled_models_are_told_what_to_trace():
    model = stack()
    compiled = torch.compile(model)  # compiles at the first call, which does not come
    with pytest.raises(ValueError, match="_orig_mod"):
        trace(compiled, x())
    assert len(trace(compiled._orig_mod, x()).calls) == 3
    with pytest.raises(ValueError, match="the module '1' is compiled"):
        trace(nn.Sequential(nn.Identity(), compiled), x())
    model.layers[1].compile()
    with pytest.raises(ValueError, match=r"the module 'layers\.1' is compiled.*deepcopy"):
        trace(model, x())
    assert len(trace(copy.deepcopy(model), x()).calls) == 3
    linear = nn.Linear(4, 4)
    linear.forward = torch.compile(linear.forward)
    with pytest.raises(ValueError, match=r"the model is compiled.*TORCHDYNAMO_DISABLE=1"):
        trace(linear, x())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_models_are_told_what_to_trace():
    scripted = torch.jit.script(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match=r"the model is compiled.*made from"):
        trace(scripted, x())


# How it is shown


def test_identical_layers_are_folded():
    printed = str(trace(stack(12), x()))
    assert printed.count("Block") == 1
    assert "layers.0 … 11 ×12  Block" in printed
    assert str(trace(stack(1), x())).count("×") == 0


def test_layers_that_differ_are_not_folded():
    same = [nn.Linear(4, 4) for _ in range(3)]
    model = nn.Sequential(*same, nn.Linear(4, 5), nn.Linear(5, 4), nn.Linear(4, 4, bias=False))
    heads = re.findall(r"─(\S+(?: … \d+ ×\d+)?)  ", str(trace(model.eval(), x())))
    assert heads == ["0 … 2 ×3", "3", "4", "5"]


def test_one_module_called_in_a_row_is_folded():
    model = nn.Linear(4, 4)
    assert "─0 ×3  Linear" in str(trace(nn.Sequential(model, model, model).eval(), x()))


def test_the_chain_goes_on_after_a_fold():
    """The last of the folded layers returns what the next module gets."""
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)], nn.Identity()).eval()
    mark = trace(model, x()).find("Identity").arguments["input"].mark
    assert re.search(rf"last +float32\[2, 4\] #{mark}\n", str(trace(model, x())))


def test_no_line_is_longer_than_the_page(calls):
    deep = nn.Identity()
    for _ in range(60):
        deep = nn.Sequential(deep, nn.Linear(4, 4))
    for call in (calls, trace(deep.eval(), x()), trace(stack(), x(), "a" * 300)):
        assert max(map(len, str(call).splitlines())) <= 100
        assert max(map(len, tree_text(call.to_dict(), width=80).splitlines())) <= 80


def test_a_part_of_the_tree_prints_by_itself(calls):
    printed = str(calls.find("CLIPTextEmbeddings"))
    assert printed.splitlines()[0].split()[1] == "CLIPTextEmbeddings"
    assert "CLIPEncoder" not in printed


def test_the_repr_is_short(calls):
    assert repr(trace(stack(2), x())) == "<Trace: Stack, 4 calls below it>"
    assert repr(trace(stack(2), x()).calls[1]) == "<Call of layers.1: Block, 1 calls below it>"


def test_a_tuple_of_one_is_written_as_one():
    class One(nn.Module):
        def forward(self, x):
            return (None,)

    assert re.search(r"gave +\(None,\)\n", str(trace(One().eval(), x())))


def test_many_outputs_alike_are_written_once(tiny):
    ids = clip_inputs(tiny)["input_ids"]
    printed = str(trace(copy.deepcopy(tiny).text_model, ids, output_hidden_states=True))
    assert "hidden_states=(3 × float32[2, 4, 16])" in printed


def test_the_dict_goes_through_json(calls):
    stored = json.loads(json.dumps(calls.to_dict(), allow_nan=False))
    assert stored == calls.to_dict()
    again = Trace.from_dict(stored)
    assert again == calls
    assert str(again) == str(calls)
    assert again.to_html() == calls.to_html()
    noted = trace(stack().train(), x())
    assert Trace.from_dict(noted.to_dict()) == noted


class Page(HTMLParser):
    VOID = ("meta",)

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_folds_and_asks_for_nothing(calls):
    html = calls.to_html()
    page = Page(html)
    assert page.open == []
    assert page.tags.count("details") == page.tags.count("summary") > 5
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "onclick"} & {name for name, _ in page.attributes}
    assert not re.search(r"https?:|url\(|@import", html)
    assert ("content", "light dark") in page.attributes
    assert not re.search(r"#[0-9a-f]{3,6}\b(?=[;\s}])|rgb\(", html[: html.index("</style>")])
    assert "inputs_embeds" in html and "… 1 ×2" in html


def test_a_notebook_gets_a_piece_of_a_page(calls):
    html = calls._repr_html_()
    assert Page(html).open == []
    assert html.startswith("<div") and html in calls.to_html()


def test_names_and_texts_are_escaped():
    class Odd(nn.Module):
        def forward(self, text):
            return text

    Odd.__name__ = "Odd<b>"
    html = trace(Odd(), "<script>alert(1)</script>").to_html()
    assert "<script" not in html and "Odd<b>" not in html
    Page(html)
