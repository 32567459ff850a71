"""The call tracer: what it leaves as it was, and what it says when something fails."""

import copy
import re
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clipnotes.trace import Trace, trace
from reference import agree
from tracing import Catches, Fails, clip_inputs, hooks_of, stack, x

# What is left as it was


@pytest.mark.parametrize("grad", [True, False])
def test_the_output_is_the_same(tiny, grad):
    with torch.set_grad_enabled(grad):
        plain = tiny(**clip_inputs(tiny))
        traced = trace(tiny, **clip_inputs(tiny)).output
    assert type(traced) is type(plain)
    assert list(traced) == list(plain)
    for name in ("logits_per_image", "text_embeds", "image_embeds"):
        assert agree(traced[name], plain[name])
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
    assert all(agree(a, b) for a, b in pairs)


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
    assert agree(calls.output, plain)
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
    assert all(agree(a, p.grad) for a, p in zip(traced, model.parameters(), strict=True))


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

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.done, self.inner = nn.Identity(), Interrupted()

        def forward(self):
            return self.done(1), self.inner()

    model = Outer().eval()
    with pytest.raises(KeyboardInterrupt) as caught:
        trace(model)
    ends = [(call.class_name, call.raised) for call in caught.value.calls.walk()]
    assert ends == [
        *(("Outer", "KeyboardInterrupt"), ("Identity", None), ("Interrupted", "KeyboardInterrupt"))
    ]
    assert not any(hooks_of(model))


def test_an_error_of_the_model_itself_and_one_before_its_call_are_its_own():
    def refuse(*_):
        raise ValueError("no luck")

    fails, refused = Fails(), nn.Sequential(nn.Identity())
    refused.register_forward_pre_hook(refuse)
    for model in (fails, refused):
        with pytest.raises(ValueError, match="no luck") as caught:
            trace(model.eval(), x())
        calls, name = caught.value.calls, type(model).__name__
        found = (calls.path, calls.class_name, calls.raised, calls.calls)
        assert found == ("", name, "ValueError: no luck", [])
        if sys.version_info >= (3, 11):
            assert caught.value.__notes__[0].startswith(f"Raised in {name} while")


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
