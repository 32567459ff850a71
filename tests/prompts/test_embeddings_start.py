"""What learnable embeddings start from: ids, vectors or a seed; and how long a text may be."""

import pytest
import torch
from torch import nn

from clipnotes.compat import text_tower
from clipnotes.prompts import LearnableTextEmbeddings
from reference import agree
from text_models import IDS, make, mixed_flags, run, table


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


def test_the_seed_draws_the_same_vectors_in_both_ways_and_is_0_unless_given():
    def drawn(**seed):
        model = make("text")
        alone = LearnableTextEmbeddings(text_tower(model).embeddings, 3, **seed).ctx
        assert torch.equal(LearnableTextEmbeddings.replace(model, 3, **seed).ctx, alone)
        return alone

    assert torch.equal(drawn(), drawn(seed=0))
    assert not torch.equal(drawn(seed=0), drawn(seed=1))


def test_a_text_may_fill_all_positions():
    model = make("text")
    ids = torch.tensor([[1, 5, 7, 9, 4, 3, 2, 8, 19]])
    plain = run(model, ids)
    LearnableTextEmbeddings.replace(model, init=ids[0, 1:3])
    assert agree(run(model, ids), plain)


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
