"""The opened layer computes what the layer computes, on all tokens or on some of them."""

import pytest
import torch

from clipnotes.model import TextTower
from clipnotes.model.opened import ask, offer, run
from reference import agree
from reference_text import SMALL

CAUSAL = torch.ones(6, 6, dtype=torch.bool).tril()


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return TextTower(**SMALL).eval().encoder.layers


def states(n=2):
    return torch.randn(n, 6, SMALL["hidden_size"], generator=torch.Generator().manual_seed(1))


def test_asking_what_was_offered_is_the_layer(layers):
    x = states()
    added = torch.zeros(6, 6).masked_fill(~CAUSAL, -torch.inf)
    assert agree(ask(layers[0], x, *offer(layers[0], x), CAUSAL), layers[0](x, added)[0])


def test_some_tokens_may_ask_alone(layers):
    x = states()
    offered = offer(layers[0], x)
    whole = ask(layers[0], x, *offered, CAUSAL)
    assert agree(ask(layers[0], x[:, [2, 5]], *offered, CAUSAL[[2, 5]]), whole[:, [2, 5]])


def test_a_past_of_one_text_is_shared_by_all(layers):
    x = torch.cat([states(1)[:, :2].expand(3, -1, -1), states(3)[:, 2:]], 1)
    whole, kept = run(layers, x, mask=CAUSAL)
    _, past = run(layers, x[:1, :2], mask=CAUSAL[:2, :2])
    tail, own = run(layers, x[:, 2:], past, CAUSAL[2:])
    assert agree(tail, whole[:, 2:])
    for pair, first, rest in zip(kept, past, own, strict=True):
        for both, one, other in zip(pair, first, rest, strict=True):
            assert agree(torch.cat([one.expand(3, -1, -1), other], 1), both)
