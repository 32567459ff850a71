"""The module `LearnableTextEmbeddings`: what it starts from, computes, and leaves behind."""

import copy

import pytest
import torch
from torch import nn

from clipnotes.compat import text_tower
from clipnotes.prompts import LearnableTextEmbeddings, inject
from reference import agree
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

# Against the plain forward, beside `inject`


@pytest.mark.parametrize("eos_token_id", [2, 19])
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_s_own_vectors_give_the_plain_forward(kind, eos_token_id):
    model = make(kind, eos_token_id=eos_token_id)
    with torch.no_grad():
        for start, n_ctx in ((1, 3), (2, 1), (0, 4)):
            own = IDS[:, start : start + n_ctx]
            plain = run(model)
            with inject(model, table(model)[own], start=start):  # one context a text
                assert agree(run(model), plain)
            with inject(model, table(model)[own[0]], start=start):
                assert agree(run(model, IDS[:1]), plain[:1])
                assert not agree(run(model), plain)
            learnable = LearnableTextEmbeddings.replace(model, start=start, init=own[0])
            assert learnable.n_ctx == n_ctx
            assert agree(run(model, IDS[:1]), plain[:1])
            assert not agree(run(model), plain)
            learnable.restore()


@pytest.mark.parametrize("seed", range(6))
def test_both_forms_agree_in_values_and_gradients(seed):
    model = tiny_text(seed, **SIZES)
    ctx = torch.randn(3, model.config.hidden_size, requires_grad=True)
    weighting = torch.randn(2, 8, model.config.hidden_size)
    with inject(model, ctx):
        injected = run(model)
    (expected,) = torch.autograd.grad((injected * weighting).sum(), ctx)
    learnable = LearnableTextEmbeddings.replace(model, init=ctx)
    replaced = run(model)
    (gradient,) = torch.autograd.grad((replaced * weighting).sum(), learnable.ctx)
    assert agree(replaced, injected)
    assert agree(gradient, expected)
    assert expected.abs().sum() > 0


def test_against_embeddings_put_together_by_hand():
    """The tokens in front and behind keep their vectors, and every token its own position."""
    model = make("text")
    embeddings, ctx = text_tower(model).embeddings, torch.randn(3, 12)
    tokens = torch.cat(
        [table(model)[IDS[:, :1]], ctx.expand(2, 3, 12), table(model)[IDS[:, 4:]]], 1
    )
    expected = tokens + embeddings.position_embedding.weight[:7]
    with inject(model, ctx):
        assert agree(embeddings(input_ids=IDS), expected)
    learnable = LearnableTextEmbeddings(embeddings, init=ctx)
    assert agree(learnable(IDS), expected)
    positions = torch.tensor([[8, 7, 6, 5, 4, 3, 2]])
    moved = tokens + embeddings.position_embedding.weight[positions]
    assert agree(learnable(IDS, positions), moved)
    with inject(model, ctx):
        assert agree(embeddings(IDS, positions), moved)


# What it starts from


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_every_id_of_the_table_can_be_where_it_starts(dtype):
    model = make("text")
    ids = torch.tensor([0, 19, 7], dtype=dtype)
    learnable = LearnableTextEmbeddings(text_tower(model).embeddings, init=ids)
    assert torch.equal(learnable.ctx, table(model)[ids.long()])


@pytest.mark.parametrize("given", [torch.float64, torch.float32, torch.float16])
def test_vectors_are_taken_over_in_the_dtype_of_the_table(given):
    embeddings = text_tower(make("text").bfloat16()).embeddings
    init = torch.full((2, 12), 1.5, dtype=given)
    learnable = LearnableTextEmbeddings(embeddings, init=init)
    assert learnable.ctx.dtype == torch.bfloat16
    assert torch.equal(learnable.ctx.to(given), init)


def test_it_starts_from_copies_of_vectors_and_table():
    model = make("text")
    vectors = torch.randn(2, 12)
    learnable = LearnableTextEmbeddings(text_tower(model).embeddings, 2, init=vectors)
    assert torch.equal(learnable.ctx, vectors)
    with torch.no_grad():
        learnable.ctx.zero_()
        learnable.token_embedding.weight.zero_()
    assert vectors.abs().sum() > 0
    assert table(model).abs().sum() > 0


def test_the_seed_draws_the_same_vectors_in_both_ways_and_is_0_unless_given():
    def drawn(**seed):
        model = make("text")
        alone = LearnableTextEmbeddings(text_tower(model).embeddings, 3, **seed).ctx
        assert torch.equal(LearnableTextEmbeddings.replace(model, 3, **seed).ctx, alone)
        return alone

    assert torch.equal(drawn(), drawn(seed=0))
    assert not torch.equal(drawn(seed=0), drawn(seed=1))


def test_the_default_is_16_vectors_behind_the_start():
    model = make("text", max_position_embeddings=24)
    learnable = LearnableTextEmbeddings.replace(model)
    assert learnable.ctx.shape == (16, 12)
    assert learnable.ctx_positions.tolist() == list(range(1, 17))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n_ctx": 0}, ValueError, "n_ctx is 0"),
        ({}, ValueError, "16 vectors would stand at places 1 to 16.*positions 0 to 8"),
        ({"init": "a photo"}, TypeError, "init is a str: give a tensor"),
        ({"init": torch.tensor([5, 20])}, ValueError, "the table goes to 19"),
        ({"init": torch.tensor([-1])}, ValueError, "the table goes to 19"),
        ({"init": torch.tensor([], dtype=torch.int64)}, ValueError, r"shape \(0,\)"),
        ({"init": torch.zeros(2, 2, 12)}, ValueError, r"shape \(2, 2, 12\)"),
        ({"init": torch.zeros(2, 13)}, ValueError, r"shape \(2, 13\)"),
        ({"init": torch.zeros(3, 12), "n_ctx": 2}, ValueError, "3 vectors and n_ctx is 2"),
    ],
)
def test_replace_says_what_it_cannot_take_before_anything_changes(kwargs, error, message):
    model = make("text")
    flags, before = mixed_flags(model), weights(model)
    with pytest.raises(error, match=message):
        LearnableTextEmbeddings.replace(model, **kwargs)
    assert_untouched(model, before, flags)


def test_a_hook_on_the_original_is_not_copied():
    model = make("text")
    plain = text_tower(model).embeddings(IDS)
    with inject(model, torch.randn(2, 12)):
        learnable = LearnableTextEmbeddings(text_tower(model).embeddings, 1)
    assert agree(learnable(IDS)[:, 2:], plain[:, 2:])


# What it takes


def test_it_takes_the_arguments_of_the_original():
    original = text_tower(make("text")).embeddings
    learnable = LearnableTextEmbeddings(original, n_ctx=2)
    vectors = torch.randn(2, 7, 12, requires_grad=True)
    kept = vectors.detach().clone()
    out = learnable(inputs_embeds=vectors)
    same = torch.isclose(out, original(inputs_embeds=vectors)).all(-1)
    assert same.tolist() == [[True, False, False, True, True, True, True]] * 2
    out.sum().backward()
    assert torch.equal(vectors, kept)
    assert (vectors.grad.sum(-1) == 0).tolist() == (~same).tolist()
    # As in the original, vectors go before ids.
    assert agree(learnable(IDS, inputs_embeds=vectors), out)
    with pytest.raises(ValueError, match="no text was given"):
        learnable()
    with pytest.raises(ValueError, match="the text has 10 tokens and the model positions for 9"):
        learnable(torch.ones(1, 10, dtype=torch.int64))


def test_the_end_of_a_text_must_be_readable():
    model = make("text")
    LearnableTextEmbeddings.replace(model, 4)
    run(model, IDS[:1])
    with pytest.raises(ValueError, match="text 1 is read out at place 4, where a context vector"):
        run(model)


def test_a_text_may_fill_all_positions():
    model = make("text")
    ids = torch.tensor([[1, 5, 7, 9, 4, 3, 2, 8, 19]])
    plain = run(model, ids)
    LearnableTextEmbeddings.replace(model, init=ids[0, 1:3])
    assert agree(run(model, ids), plain)


# In a model and out of it


@pytest.mark.parametrize("kind", KINDS)
def test_replace_trains_the_context_and_no_bit_of_the_rest(kind):
    model = make(kind)
    flags, before = mixed_flags(model), weights(model)
    original = text_tower(model).embeddings
    learnable = LearnableTextEmbeddings.replace(model, 3)
    start = learnable.ctx.detach().clone()
    trained = [name for name, w in model.named_parameters() if w.requires_grad]
    assert [name.split(".")[-1] for name in trained] == ["ctx"]
    assert set(model.state_dict()) - set(before) == set(trained)
    train(model, [], lambda: run(model))
    assert (learnable.ctx != start).all()
    assert torch.equal(learnable.token_embedding.weight, original.token_embedding.weight)
    learnable.restore()
    assert text_tower(model).embeddings is original
    assert_untouched(model, before, flags)


def test_once_in_and_once_out():
    model = make("CLIPModel")
    tower = text_tower(model)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    with pytest.raises(ValueError, match="were replaced before, with 2 context vectors"):
        LearnableTextEmbeddings.replace(model, 3)
    assert tower.embeddings is learnable
    tower.embeddings = nn.Identity()
    with pytest.raises(ValueError, match="a Identity stands where these embeddings were put"):
        learnable.restore()
    tower.embeddings = learnable
    learnable.restore()
    with pytest.raises(ValueError, match="nothing to restore"):
        learnable.restore()
    with pytest.raises(ValueError, match="nothing to restore"):
        LearnableTextEmbeddings(tower.embeddings, 2).restore()
    LearnableTextEmbeddings.replace(model, 2).restore()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_kept_and_followed(training):
    model = make("text").train(training)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    assert {module.training for module in model.modules()} == {training}
    model.train(not training)
    learnable.restore()
    assert {module.training for module in model.modules()} == {not training}


def test_the_original_follows_to_another_dtype_and_device():
    model = make("text")
    learnable = LearnableTextEmbeddings.replace(model, 2)
    model.bfloat16()
    run(model)
    learnable.restore()
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    learnable = LearnableTextEmbeddings.replace(model, 2)
    model.to("meta")
    assert text_tower(model)(input_ids=IDS.to("meta"))[1].shape == (2, 12)
    learnable.restore()
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_round_trip_through_half_precision_does_not_cost_the_original_a_bit():
    model = make("text")
    before = text_tower(model).embeddings.token_embedding.weight.clone()
    learnable = LearnableTextEmbeddings.replace(model, 2)
    model.half().float()
    assert not torch.equal(learnable.token_embedding.weight, before)
    learnable.restore()
    assert torch.equal(text_tower(model).embeddings.token_embedding.weight, before)


def test_a_deep_copy_of_a_replaced_model_is_a_model_of_its_own():
    model = make("CLIPModel")
    flags, before = mixed_flags(model), weights(model)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    twin = copy.deepcopy(model)
    text_tower(twin).embeddings.restore()
    assert_untouched(twin, before, flags)
    assert text_tower(model).embeddings is learnable
    assert not learnable.token_embedding.weight.requires_grad
    learnable.restore()
    assert_untouched(model, before, flags)


def test_restore_leaves_a_parameter_that_came_meanwhile_as_it_is():
    model = make("text")
    flags = mixed_flags(model)
    learnable = LearnableTextEmbeddings.replace(model, 2)
    tower = text_tower(model)
    tower.adapter, tower.other = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)
    run(model, IDS)
    learnable.restore()
    assert all(weight.requires_grad for weight in tower.adapter.parameters())
    assert not any(weight.requires_grad for weight in tower.other.parameters())
    del tower.adapter, tower.other
    assert {name: w.requires_grad for name, w in model.named_parameters()} == flags
