"""Checks of chapter 10: what is common, what depends on what, and attention on what is left."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as attend

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not


@exercise("10.1")
def n_common(answer: Callable[[Tensor], int]) -> None:
    """Count how many tokens all prompts begin with."""
    for length, shared in ((9, 4), (8, 1), (7, 7)):
        ids = torch.arange(length).repeat(3, 1)
        ids[1:, shared : shared + 1] = 99
        ids[2, shared + 2 : shared + 3] = 98
        result = answer(ids)
        same = int((ids == ids[0]).all(0).sum())
        expect(
            same == shared or result != same,
            f"In {ids.tolist()} {same} places are the same in all prompts, but some of them stand "
            "behind one that is not: what they become depends on it.",
        )
        expect(
            shared == 1 or result != 1,
            f"In {ids.tolist()} more than the start is the same in all prompts.",
        )
        expect_close(result, shared, f"In {ids.tolist()} all prompts do not begin with {result}.")


@exercise("10.2")
def times_fewer(answer: Callable[[int, int, int, float], float]) -> None:
    """Compute how many times fewer tokens one prefix and no padding make."""
    for n, limit, prefix, tail in ((100, 77, 17, 4.5), (3, 32, 5, 6.0), (10**6, 77, 17, 4.0)):
        result = answer(n, limit, prefix, tail)
        case = f"For {n} classes, {limit} places, a prefix of {prefix} and tails of {tail}:"
        mistakes = {
            limit / (prefix + tail): "that is with a prefix for each class. It is "
            "computed once for all.",
            limit / tail: "that is without the prefix, which has to be computed, too.",
        }
        for number, sentence in mistakes.items():
            near = isinstance(result, (int, float)) and abs(result - number) < 1e-5
            expect(not near, f"{case} {sentence}")
        wanted = n * limit / (prefix + n * tail)
        expect(
            not isinstance(result, (int, float)) or abs(result * wanted - 1) > 1e-5,
            f"{case} that is the share that is left. How many times fewer is its inverse.",
        )
        expect_close(
            result,
            wanted,
            f"{case} {result} is not the number of tokens over what is left of them.",
        )


@exercise("10.3")
def depends(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Find which token's state depends on which other token after several layers."""
    chain = torch.zeros(5, 5, dtype=torch.bool)
    chain[torch.arange(1, 5), torch.arange(4)] = True  # each looks at the one before it only
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    for looks in (chain, causal, torch.rand(6, 6) < 0.2):
        for n_layers in (1, 2, 3):
            wanted = torch.eye(len(looks), dtype=torch.bool)
            for _ in range(n_layers):
                before = wanted.clone()
                for i, j in looks.nonzero().tolist():
                    wanted[i] |= before[j]
            result = answer(looks, n_layers)
            expect(
                isinstance(result, Tensor) and result.shape == looks.shape,
                "A matrix like the one that says who looks at whom is wanted.",
            )
            expect(result.dtype == torch.bool, f"Yes or no is wanted, and this is {result.dtype}.")
            where = f"Behind {n_layers} layers"
            expect(
                result.diagonal().all(),
                f"{where} some token does not depend on itself. It also passes every layer on the "
                "residual stream, whether it looks at itself or not.",
            )
            expect(
                torch.equal(wanted, wanted.T) or not torch.equal(result, wanted.T),
                f"{where} it is the other way round: a row is the token that looks.",
            )
            less, more = (wanted & ~result).nonzero(), (result & ~wanted).nonzero()
            expect(
                not len(less),
                f"{where} more depends on more than you say. If a token looks at a second, and "
                "that one has looked at a third before, then the first depends on the third.",
            )
            expect(
                not len(more),
                f"{where} you say that token {more[:1].tolist()} (row, column) depends, and there "
                "is no way from one to the other.",
            )


@exercise("10.4")
def own_past(answer: Callable[[list[int]], Tensor]) -> None:
    """Make the mask for several tails in one row, where each sees only its own past."""
    for lengths in ([2, 3, 1], [4, 1, 2, 2]):
        owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        same = owner[:, None] == owner
        causal = torch.ones_like(same).tril()
        result = answer(lengths)
        expect(
            isinstance(result, Tensor) and result.shape == same.shape,
            f"For tails of {lengths} tokens, {len(same)} in all, a mask of {tuple(same.shape)} is "
            "wanted.",
        )
        result = result.bool()
        expect(
            not torch.equal(result, causal),
            "No token looks ahead, but the classes look into each other: each would have read the "
            "names in front of its own.",
        )
        expect(
            not torch.equal(result, same),
            "The classes are apart, but within a class tokens look ahead.",
        )
        expect(
            not torch.equal(result, same & causal.T),
            "That is upside down: a row is the token that looks, and it looks back.",
        )
        expect_close(result.int(), (same & causal).int(), "This is not who sees whom.")


@exercise("10.5")
def tail_attention(answer: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Compute attention of a tail that looks at a prefix and at itself."""
    for P, T in ((4, 3), (2, 5)):
        q, k, v = torch.randn(3, 2, P + T, 8)  # each (n_heads, P + T, head_dim)
        whole = torch.ones(P + T, P + T, dtype=torch.bool).tril()
        wanted = attend(q, k, v, attn_mask=whole)[:, P:]
        tail, (past_k, past_v) = q[:, P:], (k[:, :P], v[:, :P])
        result = answer(tail, k[:, P:], v[:, P:], past_k, past_v)
        expect_not(
            result,
            attend(tail, k[:, P:], v[:, P:], is_causal=True),
            "The tail looks at itself only: the prefix's keys and values are not used.",
        )
        expect_not(
            result,
            attend(tail, k, v),
            "The tail looks ahead: each of its tokens may see the prefix and its own past.",
        )
        expect_not(
            result,
            attend(tail, k, v, is_causal=True),
            "The diagonal of your mask begins in the corner, as if the tail's first token stood at "
            "place 0. It stands behind the prefix. PyTorch's `is_causal` does not know.",
        )
        scores = (tail @ k.transpose(1, 2)).masked_fill(~whole[P:], -torch.inf)
        expect_not(
            result,
            scores.softmax(-1) @ v,
            "The scores are too large: they still grow with the width of a head.",
        )
        sentence = "These are not the rows that the tail has in attention over the whole text."
        expect_close(result, wanted, sentence)
