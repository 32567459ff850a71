"""The fast path against the plain one: features, gradients, and what it leaves alone."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from both_paths import assert_same_paths, draw_ctx, gradients_and_features
from clipnotes.compat import checkpoint_layers, text_tower
from clipnotes.prompts import PromptLearner
from clipnotes.prompts.encode import encode
from clipnotes.prompts.layout import Layout
from reference import assert_close
from reference_prompts import MANY, NAMES, POSITIONS, prompt_clip

# The fast path says when it is not taken: here it must be.
pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("names", [MANY, ["dog sled"]])
def test_equals_the_plain_path_on_emoji_clip(clip, names, position, per_class):
    for n_ctx, template in ((1, "{}"), (16, "{}."), (5, "a photo of a {}, of course")):
        layout = Layout.build(
            clip.tokenizer, names, n_ctx, limit=32, position=position, template=template
        )
        ctx = draw_ctx(clip, layout, per_class, scale=1)
        for memory in (None, 1):
            assert_same_paths(clip.model, layout, ctx, memory=memory)


WORDS = st.sampled_from(["x", "dog", "tulip", "steam", "red"])

NAME = st.lists(WORDS, min_size=1, max_size=7).map(" ".join)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 999),
    names=st.lists(NAME, min_size=1, max_size=9, unique=True),
    n_ctx=st.integers(1, 9),
    position=st.sampled_from(POSITIONS),
    per_class=st.booleans(),
    template=st.sampled_from(["{}.", "{}", "a photo of a {} ."]),
    budget=st.one_of(st.none(), st.integers(1, 300_000)),
)
def test_equals_the_plain_path_on_random_towers(
    clip, seed, names, n_ctx, position, per_class, template, budget
):
    tiny = prompt_clip(clip, seed, max_position_embeddings=40)
    layout = Layout.build(
        clip.tokenizer, names, n_ctx, limit=40, position=position, template=template
    )
    ctx = draw_ctx(tiny, layout, per_class, seed)
    assert_same_paths(tiny.model, layout, ctx, 2e-5, memory=budget)


def test_prompts_longer_than_a_block(clip):
    tiny = prompt_clip(clip, 2, max_position_embeddings=77)
    names = ["x " * n + "dog" for n in (60, 1, 2, 33, 20)]
    for position in POSITIONS:
        for per_class in (False, True):
            layout = Layout.build(clip.tokenizer, names, 9, limit=77, position=position)
            assert_same_paths(tiny.model, layout, draw_ctx(tiny, layout, per_class), 2e-5)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu", "gelu_new", "silu"])
def test_every_activation_of_transformers(clip, act):
    tiny = prompt_clip(clip, 4, hidden_act=act)
    layout = Layout.build(clip.tokenizer, NAMES, 3, limit=28)
    assert_same_paths(tiny.model, layout, draw_ctx(tiny, layout, False))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", POSITIONS)
def test_other_dtypes(clip, position, per_class, dtype):
    model = copy.deepcopy(clip.model).to(dtype)
    layout = Layout.build(clip.tokenizer, MANY, 8, limit=32, position=position)
    ctx = draw_ctx(clip, layout, per_class, scale=1)
    tolerance = {torch.bfloat16: 0.1, torch.float16: 0.01}[dtype]
    assert_same_paths(model, layout, ctx, tolerance, memory=1 if per_class else None)


def test_double_precision(clip):
    """Against single precision: no tower of transformers 4 can run in double."""
    model = copy.deepcopy(clip.model).double()
    for position in POSITIONS:
        layout = Layout.build(clip.tokenizer, MANY, 8, limit=32, position=position)
        ctx = draw_ctx(clip, layout, False, scale=1)
        found = gradients_and_features(model, layout, ctx.double())
        expected = gradients_and_features(clip.model, layout, ctx, fast=False)
        for name, ours, theirs in zip(("features", "gradient"), found, expected, strict=True):
            assert ours.dtype == torch.float64
            assert_close(name, ours.float(), theirs)


def test_autocast(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 4, limit=32)
    ctx = draw_ctx(clip, layout, False, scale=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert_same_paths(clip.model, layout, ctx, 0.1)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mlp.fc1", "bias"),
        ("mlp.fc2", "bias"),
        ("self_attn.k_proj", "bias"),
        ("layer_norm1", "bias"),
        ("layer_norm2", "weight"),
    ],
)
def test_towers_without_one_weight_or_bias(clip, module, name):
    model = copy.deepcopy(clip.model)
    setattr(text_tower(model).encoder.layers[1].get_submodule(module), name, None)
    layout = Layout.build(clip.tokenizer, NAMES, 4, limit=32)
    assert_same_paths(model, layout, draw_ctx(clip, layout, False, scale=1))


def test_weights_are_read_each_time(clip):
    model = copy.deepcopy(clip.model)
    layout = Layout.build(clip.tokenizer, NAMES, 4, limit=32)
    ctx = draw_ctx(clip, layout, False, scale=1)
    before = encode(model, layout, ctx)
    with torch.no_grad():
        for weight in text_tower(model).parameters():
            weight.mul_(1.1)
    assert_same_paths(model, layout, ctx)
    assert (encode(model, layout, ctx) - before).abs().max() > 1e-3


def test_the_learner_takes_the_fast_path_unless_told(clip):
    taken = []
    learner = PromptLearner(clip, NAMES, 4, memory=10**6)
    assert (learner.fast, learner.memory) == (True, 10**6)
    twin = copy.deepcopy(learner)
    plain = PromptLearner(clip, NAMES, 4, fast=False)
    handle = text_tower(clip.model).encoder.register_forward_hook(lambda *_: taken.append(1))
    plain()
    handle.remove()
    assert taken == [1]
    for each in (learner, twin):
        assert_close("features", each(), plain())


def test_the_model_gets_no_gradient_and_keeps_its_settings(clip):
    model = copy.deepcopy(clip.model).train()
    checkpoint_layers(model)  # of no concern to the fast path
    before = [(weight, weight.requires_grad, weight.clone()) for weight in model.parameters()]
    layout = Layout.build(clip.tokenizer, MANY, 4, limit=32)
    for memory in (None, 1):
        ctx = draw_ctx(clip, layout, False).requires_grad_(True)
        features = encode(model, layout, ctx, memory=memory)
        assert all(weight.requires_grad == flag for weight, flag, _ in before)
        features.sum().backward()
        assert ctx.grad.abs().max() > 0
        for weight, flag, value in before:
            assert weight.grad is None
            assert weight.requires_grad == flag
            assert torch.equal(weight, value)
    assert all(module.training for module in model.modules())
    frozen = encode(model, layout, draw_ctx(clip, layout, False))
    assert not frozen.requires_grad


def test_half_precision_does_not_lose_small_gradients(clip):
    """Of a shared context behind the names, each vector sums the gradients of all classes."""
    model = copy.deepcopy(clip.model).bfloat16()
    names = [f"{a} {b}" for a in ("x", "dog", "tulip") for b in range(100)]
    layout = Layout.build(clip.tokenizer, names, 2, limit=32, position="front")
    ctx = draw_ctx(clip, layout, False, scale=1)
    _, gradient = gradients_and_features(model, layout, ctx)
    _, plain = gradients_and_features(model, layout, ctx, fast=False)
    _, exact = gradients_and_features(model.float(), layout, ctx)
    assert (gradient - exact).norm() < 1.1 * (plain - exact).norm()


def test_a_layout_for_a_longer_model_is_refused(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 40, limit=77)
    with pytest.raises(ValueError, match=r"model (has )?positions (for|0 to)"):
        encode(clip.model, layout, torch.zeros(40, 128))


def test_a_layout_may_be_as_long_as_the_model_and_no_longer(clip):
    fits, too_long = (
        Layout.build(clip.tokenizer, [" ".join(["x"] * n)], 2, limit=77) for n in (27, 28)
    )
    assert encode(clip.model, fits, torch.zeros(2, 128)).shape == (1, 128)
    with pytest.raises(ValueError, match="longest prompt has 33 tokens and the model positions"):
        encode(clip.model, too_long, torch.zeros(2, 128))


def test_a_context_over_the_end_is_refused(clip):
    layout = Layout.build(clip.tokenizer, NAMES, 2, limit=32)
    wrong = Layout(layout.input_ids, layout.ctx_positions, layout.eos.clone().fill_(2))
    with pytest.raises(ValueError, match="text 0 is read out at place 2"):
        encode(clip.model, wrong, torch.zeros(2, 128))
