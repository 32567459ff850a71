"""Two ways are compared: differences are found, arithmetic is counted, memory is watched."""

import pytest
import torch

from clipnotes.model.ways import Compared, apart, compare, count, peak_bytes, seconds, step

A = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
B = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ctx():
    return torch.ones(2, 3, requires_grad=True)


def left(ctx):
    return A @ B @ ctx


def right(ctx):
    return A @ (B @ ctx)


def test_a_step_sends_a_fixed_gradient_back(ctx):
    torch.manual_seed(5)
    features, gradient = step(left, ctx)
    torch.manual_seed(6)
    assert torch.equal(step(left, ctx)[1], gradient)
    assert not features.requires_grad
    assert gradient.shape == ctx.shape


def test_the_arithmetic_is_counted_in_both_directions(ctx):
    # forward: 2 * (4*5*2 + 4*2*3); backward: 2 * 2*4*3
    assert count(left, ctx) == 2 * (40 + 24) + 48
    # forward: 2 * (5*2*3 + 4*5*3); backward: the same
    assert count(right, ctx) == 2 * 2 * (30 + 60)


def test_equal_ways_are_compared(ctx):
    compared = compare(right, left, ctx)
    assert compared.less == 360 / 176
    assert compared.faster > 0
    assert max(compared.features, compared.gradient) < 1e-5
    assert repr(Compared(2e-7, 3e-7, 1.5, 0.9)) == (
        "off by 2e-07 (features) and 3e-07 (gradient)\n"
        "1.50 times less arithmetic, 0.90 times as fast"
    )


@pytest.mark.parametrize(
    "wrong", [lambda c: left(c) + 1e-3, lambda c: left(c.detach()) + 0 * c.sum()]
)
def test_ways_that_differ_are_refused(ctx, wrong):
    assert max(apart(wrong, left, ctx)) > 1e-5
    with pytest.raises(AssertionError, match="not close"):
        compare(left, wrong, ctx)


def test_each_way_is_timed(ctx):
    assert all(0 < took < 60 for took in seconds(left, right, ctx=ctx, times=2))


def test_the_most_that_is_alive_is_found(ctx):
    wide = torch.ones(3, 5000)

    def chunked(ctx):
        return (
            torch.stack([(ctx @ part).sum(1).detach() for part in wide.split(500, 1)]) + ctx.sum()
        )

    def whole(ctx):
        return (ctx @ wide).sum(1, keepdim=True)

    assert peak_bytes(whole, ctx, [wide]) >= 4 * 2 * 5000
    assert peak_bytes(chunked, ctx, [wide]) < 4 * 2 * 5000
    kept = peak_bytes(lambda c: whole(c).sigmoid(), ctx)
    assert kept >= peak_bytes(lambda c: c.sum(1, keepdim=True), ctx)
