"""The context `inject`: vectors stand in the place of tokens, and afterwards there is no trace."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from clipnotes.compat import checkpoint_layers, text_tower
from clipnotes.model import TextTower
from clipnotes.prompts import LearnableTextEmbeddings, inject
from reference import agree, assert_close
from reference_text import tiny_text
from text_models import (
    IDS,
    KINDS,
    SIZES,
    assert_untouched,
    make,
    mixed_flags,
    run,
    table,
    train,
    weights,
)


@pytest.mark.parametrize("kind", KINDS)
def test_inject_trains_the_context_and_no_bit_of_the_rest(kind):
    model = make(kind)
    flags, before = mixed_flags(model), weights(model)
    ctx = nn.Parameter(torch.zeros(3, 12))

    def forward():
        with inject(model, ctx):
            return run(model)  # backward runs after the context is left

    train(model, [ctx], forward)
    assert ctx.abs().min() > 0
    assert all(weight.grad is None for weight in model.parameters())
    assert_untouched(model, before, flags)


def test_inject_leaves_nothing_behind_also_after_an_exception():
    model = make("CLIPModel")
    flags, before = mixed_flags(model), weights(model)
    plain = run(model)

    def stopped():
        with inject(model, torch.zeros(2, 12)):
            assert not any(weight.requires_grad for weight in model.parameters())
            raise RuntimeError("in between")

    def too_short():
        with inject(model, torch.zeros(2, 12)):
            run(model, IDS[:, :2])

    for call, error in ((stopped, RuntimeError), (too_short, ValueError)):
        with pytest.raises(error, match=r"in between|the text has 2 tokens"):
            call()
        assert_untouched(model, before, flags)
    assert agree(run(model), plain)


def test_contexts_can_be_nested():
    model = make("text")
    both, first, last = torch.randn(3, 12), torch.randn(2, 12), torch.randn(1, 12)
    both[:2], both[2:] = first, last
    first.requires_grad_(), last.requires_grad_()
    with inject(model, both):
        expected = run(model)
    with inject(model, first, start=1):
        with inject(model, last, start=3):
            nested = run(model)
        with torch.no_grad(), inject(model, last, start=1):
            assert not agree(run(model), nested)
        assert not any(weight.requires_grad for weight in model.parameters())
    assert agree(nested, expected)
    nested[:, :, 0].sum().backward()
    assert first.grad.abs().sum() > 0 and last.grad.abs().sum() > 0
    assert all(weight.requires_grad for weight in model.parameters())


def test_a_context_in_parts_and_one_for_each_text():
    model = make("text")
    ctx = torch.randn(2, 2, 12)
    positions = torch.tensor([[3, 1], [2, 3]])  # in any order
    expected = table(model)[IDS].clone()
    expected[0, 3], expected[0, 1], expected[1, 2], expected[1, 3] = *ctx[0], *ctx[1]
    expected = expected + text_tower(model).embeddings.position_embedding.weight[:7]
    with inject(model, ctx, positions):
        assert agree(text_tower(model).embeddings(IDS), expected)
    with inject(model, ctx[0], positions[0]):
        assert agree(text_tower(model).embeddings(IDS)[0], expected[0])
    learnable = LearnableTextEmbeddings.replace(model, start=positions[0], init=ctx[0])
    assert agree(learnable(IDS)[0], expected[0])


def test_a_context_that_is_one_of_the_model_s_own_parameters_keeps_its_flag():
    model = make("text")
    model.own = nn.Parameter(torch.randn(2, 12))
    with inject(model, model.own):
        assert [name for name, w in model.named_parameters() if w.requires_grad] == ["own"]
        run(model)[:, :, 0].sum().backward()
    assert model.own.grad.abs().sum() > 0


def test_the_context_is_cast_to_the_model_and_its_gradient_back():
    model = make("text").to(torch.bfloat16)
    ctx = torch.randn(3, 12, requires_grad=True)
    with inject(model, ctx):
        out = run(model)
    assert out.dtype == torch.bfloat16
    out[:, :, 0].sum().backward()
    assert ctx.grad.dtype == torch.float32
    learnable = LearnableTextEmbeddings.replace(model, 3)
    assert learnable.ctx.dtype == torch.bfloat16
    assert run(model).dtype == torch.bfloat16


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_works_inside(reentrant):
    model = make("text").train()
    ctx = torch.randn(3, 12, requires_grad=True)

    def gradient():
        ctx.grad = None
        with inject(model, ctx):
            run(model)[:, :, 0].sum().backward()
        return ctx.grad

    plain = gradient()
    checkpoint_layers(model, use_reentrant=reentrant)
    assert_close("gradient", gradient(), plain)
    assert all(weight.grad is None for weight in model.parameters())


def test_the_end_is_where_the_tower_reads_it():
    """By the rule for old configs it stands at the largest id, here an added token."""
    ids = torch.tensor([[1, 5, 19, 7, 15, 15]])
    for eos_token_id, fine in ((15, True), (2, False)):
        model = make("text", eos_token_id=eos_token_id)
        expected = (
            nullcontext() if fine else pytest.raises(ValueError, match="is read out at place 2")
        )
        with inject(model, torch.zeros(2, 12)), expected:
            run(model, ids)


@pytest.mark.parametrize(
    ("ctx", "start", "error", "message"),  # `test_substitute.py` has all of them
    [
        ([[0.0] * 12], 1, TypeError, r"ctx is a list: give a tensor of shape \(n_ctx, 12\)"),
        (torch.zeros(3, 12), 7, ValueError, "places 7 to 9.*positions 0 to 8"),
    ],
)
def test_inject_says_what_it_cannot_take_before_anything_changes(ctx, start, error, message):
    model = make("text")
    flags, before = mixed_flags(model), weights(model)
    with pytest.raises(error, match=message), inject(model, ctx, start):
        pytest.fail("it was entered")
    assert_untouched(model, before, flags)


def test_no_tower_no_context():
    for form in (
        lambda m: inject(m, torch.zeros(2, 3)).__enter__(),
        LearnableTextEmbeddings.replace,
    ):
        with pytest.raises(TypeError, match="no CLIP text tower in a Linear"):
            form(nn.Linear(3, 3))


@pytest.mark.parametrize("seed", [0, 1])
def test_inject_into_our_own_tower(seed):
    theirs = tiny_text(seed, **SIZES)
    ours, ctx = TextTower.from_transformers(theirs), torch.randn(3, theirs.config.hidden_size)
    with inject(ours, ctx), inject(theirs, ctx):
        assert_close("states", run(ours), run(theirs))
