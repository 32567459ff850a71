"""Annotated source: what stands beside each line is what it made, and nothing is disturbed."""
# ruff: noqa: F841

import copy
import functools
import inspect
import sys

import pytest
import torch
from torch import nn

import clipnotes
from annotated import of, shapes
from clipnotes.trace.annotation import annotate
from tracing import clip_inputs

# On CLIP


def test_every_shape_in_the_embeddings_is_one_that_hooks_saw(clip):
    module = clip.model.vision_model.embeddings
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    seen = []
    hook = module.patch_embedding.register_forward_hook(lambda *call: seen.append(call[2].shape))
    notes = annotate(module, pixels)
    hook.remove()
    made = of(notes, "patch_embeds = self.patch_embedding")["made"]
    assert shapes(made) == {"patch_embeds": tuple(seen[0])} == {"patch_embeds": (2, 128, 8, 8)}
    flat = of(notes, "patch_embeds = patch_embeds.flatten")
    assert shapes(flat["made"]) == {"patch_embeds": (2, 64, 128)}
    assert flat["shares"] == {"patch_embeds": "patch_embeds"}
    expanded = of(notes, "class_embeds = ")
    assert expanded["shares"] == {"class_embeds": "self.class_embedding"}
    assert of(notes, "if interpolate_pos_encoding:")["taken"] is False
    assert not of(notes, "embeddings = embeddings + self.interpolate")["ran"]
    assert of(notes, "return")["returned"]["shape"] == [2, 65, 128]
    assert torch.equal(notes.output, module(pixels)), "the same computation, not moved"
    text = str(notes)
    assert "(B, L, D)" in text and "did not run" in text and "D = 128, L = 65, B = 2" in text
    assert "pixel_values (B, 3, 64, 64)" in text, "64 pixels, and 64 patches: no letter for both"
    assert max(map(len, text.splitlines())) <= 100


def test_a_loop_shows_its_first_round_and_how_often_it_ran(clip):
    notes = annotate(clip.model.vision_model.encoder, torch.randn(2, 65, 128))
    loop = of(notes, "for ")
    assert loop["times"] == len(clip.model.vision_model.encoder.layers)
    assert "CLIPEncoderLayer" in {value["type"] for value in loop["made"].values()}
    assert "rounds; the first: " in str(notes)


@pytest.mark.parametrize("part", ["model", "text", "vision", "attention", "mlp", "layer"])
def test_the_output_is_the_same_to_the_bit_and_nothing_stays(tiny, part):
    inputs = clip_inputs(tiny)
    text, vision = {k: v for k, v in inputs.items() if k != "pixel_values"}, inputs["pixel_values"]
    layer = tiny.vision_model.encoder.layers[0]
    # In 4.x a layer must be told of two masks, that there are none.
    masks = [name for name in inspect.signature(layer.forward).parameters if "mask" in name]
    states = torch.randn(2, 5, tiny.config.vision_config.hidden_size)
    module, args, kwargs = {
        "model": (tiny, (), inputs),
        "text": (tiny.text_model, (), text),
        "vision": (tiny.vision_model, (vision,), {}),
        "attention": (layer.self_attn, (states,), {}),
        "mlp": (layer.mlp, (states,), {}),
        "layer": (layer, (states,), dict.fromkeys(masks)),
    }[part]
    before, tracer = copy.deepcopy(module.state_dict()), sys.gettrace()
    expected = module(*args, **kwargs)
    output = annotate(module, *args, **kwargs).output
    assert sys.gettrace() is tracer
    torch.testing.assert_close(output, expected, atol=0, rtol=0)
    after = module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(one._forward_hooks for one in module.modules())


# Functions of all kinds


def forms(x, n=3, *rest, flag=True, **others):
    """Say something.

    On several lines.
    """
    total = 0
    while n > 0:
        n -= 1
        if n == 1:
            continue
        total += n
    squares = [
        i * n
        for i in range(3)
    ]  # fmt: skip
    half = x.half()
    first, (second, *last) = x[0], (x, x[1:])

    def inner(y):
        return y + 1

    with torch.no_grad() as nothing:
        seen = inner(x)
    try:
        {}["key"]
    except KeyError as error:
        message = str(error)
    finally:
        seen.mul_(2)
    assert flag, "no"
    if flag and (
        seen is not None
    ):  # fmt: skip
        return {"half": half, "seen": seen}
    raise ValueError("never")


def test_all_kinds_of_statements():
    notes = annotate(forms, torch.ones(2, 3), 4)
    assert of(notes, "while")["times"] == 4
    assert of(notes, "if n == 1")["taken"] is False
    assert of(notes, "continue")["ran"] and of(notes, "continue")["times"] == 1
    assert of(notes, "total += n")["made"]["total"]["text"] == "3"
    assert len(of(notes, "squares = [")["made"]["squares"]["fields"]) == 3
    assert of(notes, "half")["made"]["half"]["dtype"] == "float16"
    made = of(notes, "first, (second")["made"]
    assert list(made) == ["first", "second", "last"]
    assert of(notes, "first, (second")["shares"] == {"first": "x"}
    assert of(notes, "def inner")["made"]["inner"]["type"] == "function"
    with_ = of(notes, "with")
    assert (with_["times"], with_["made"]["nothing"]["text"]) == (1, "None")
    assert of(notes, '{}["key"]')["raised"] == "KeyError: 'key'"
    assert of(notes, "message")["made"]["message"]["text"] == "\"'key'\""
    assert of(notes, "seen.mul_")["written"] == ["seen"]
    assert of(notes, "if flag")["taken"] is True
    fields = of(notes, 'return {"half"')["returned"]["fields"]
    assert {name: value["dtype"] for name, value in fields.items()} == {
        "half": "float16",
        "seen": "float32",
    }
    assert not of(notes, "raise")["ran"]
    text = str(notes)
    assert '"""Say something. …"""' in text and "On several lines" not in text
    assert "float16" in text and "4 rounds" in text


def test_a_head_ends_at_its_colon():
    def over_lines(
        x,
        y=2,
    ):
        # a comment of the body
        if (
            y
            > 1
        ):  # fmt: skip
            x = x + 1
        return x

    notes = annotate(over_lines, torch.ones(2)).to_dict()
    first, last = notes["head"]
    assert notes["lines"][last] == "):" and last - first == 3
    branch = of(annotate(over_lines, torch.ones(2)), "if (")
    assert notes["lines"][branch["last"]].startswith("    ):") and branch["taken"] is True


def test_the_letters_are_the_callers_first():
    def reshape(x):
        y = x.view(2, 3, 4)
        return y.transpose(1, 2)

    text = str(annotate(reshape, torch.zeros(2, 12), names={"T": 3, "C": 4}))
    assert "(B, T, C), a view of x" in text and "(B, C, T)" in text
    for names, error, words in (
        ({"T": 0}, ValueError, "give sizes from 1 on"),
        ({"T": 3, "C": 3}, ValueError, "'T' and 'C' the same size, 3"),
        ({"T": 3.0}, TypeError, "whole numbers"),
        ({3: 3}, TypeError, "letters"),
    ):
        with pytest.raises(error, match=words):
            annotate(reshape, torch.zeros(2, 12), names=names)


def test_small_values_inside_of_named_ones_are_written_out(tiny):
    """Only outputs inside of outputs are left to their own notes."""

    def sizes(x):
        size = x.shape
        output = tiny.vision_model(x, output_hidden_states=True)
        both = {"output": output}
        return size

    pixels = clip_inputs(tiny)["pixel_values"]
    text = str(annotate(sizes, pixels, names={"B": 2}))
    assert f"Size({', '.join(map(str, pixels.shape))})" in text
    assert "output=BaseModelOutputWithPooling)" in text


def test_what_wraps_a_forward_is_named():
    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            function(*args)
            return function(*args)

        return wrapper

    class Wrapped(nn.Module):
        @torch.no_grad()
        @twice
        def forward(self, x):
            return x + 1

    notes = annotate(Wrapped(), torch.ones(2))
    assert notes.to_dict()["wrapped_by"] == ["torch.no_grad()", "twice"]
    assert notes.to_dict()["calls"] == 2
    assert "called 2 times; this is the first" in str(notes)
    assert torch.equal(notes.output, torch.full((2,), 2.0))


def test_an_error_carries_the_notes_up_to_there():
    class Fails(nn.Module):
        def forward(self, x):
            y = x.view(1, -1)
            z = y @ y
            return z

    with pytest.raises(RuntimeError, match="mat1 and mat2") as caught:
        annotate(Fails(), torch.ones(3))
    notes = caught.value.notes
    assert shapes(of(notes, "y =")["made"]) == {"y": (1, 3)}
    assert of(notes, "z =")["raised"].startswith("RuntimeError: mat1 and mat2")
    assert not of(notes, "return")["ran"]
    assert "raised RuntimeError" in str(notes)


def test_what_has_no_source_is_refused(tiny):
    def generator(x):
        yield x

    def bare(x):
        return x

    no_source = {}
    exec("def made(x):\n    return x", no_source)
    with pytest.raises(ValueError, match="is a generator"):
        annotate(generator, 1)
    with pytest.raises(ValueError, match="not written in Python"):
        annotate(torch.relu, torch.ones(1))
    with pytest.raises(ValueError, match="source of made is not to be found"):
        annotate(no_source["made"], 1)
    with pytest.raises(TypeError, match=r"or a function, not the class Linear"):
        annotate(nn.Linear, 1)
    with pytest.raises(TypeError, match="this call does not fit"):
        annotate(tiny.vision_model.encoder.layers[0].mlp)
    with pytest.raises(ValueError, match="compiled"):
        annotate(torch.compile(tiny.vision_model), torch.zeros(1, 3, 8, 8))
    with pytest.raises(TypeError):
        annotate(bare)

    class Skips(nn.Module):
        def forward(self, x):
            return x

    module = Skips()
    plain = module.forward
    module.forward = functools.wraps(plain)(lambda x: x)
    with pytest.raises(RuntimeError, match="did not run"):
        annotate(module, torch.ones(1))


def test_it_is_a_name_of_the_package():
    assert clipnotes.annotate is annotate
