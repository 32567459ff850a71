"""Checks of chapter 12: reading attention, and taking parts of an image away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.looking import rollout
from clipnotes.model.encoder import EncoderLayer


@exercise("12.1")
def class_row(answer: Callable[[list[Tensor]], Tensor]) -> None:
    """Compute the class token's row of the rollout without a product of two matrices."""
    B, n_heads, N = 2, 3, 24
    attentions = list(torch.randn(4, B, n_heads, N, N).softmax(-1).unbind())
    with FlopCounterMode(display=False) as counter:
        result = answer(attentions)
    means = [weights.mean(1) for weights in attentions]
    expect_not(
        result,
        _row([*reversed(means)], 0.5),
        "The layers are in the wrong order. The class token at the top is a mixture of the last "
        "layer's inputs, and each of those is a mixture of what came in below.",
    )
    expect_not(
        result,
        _row(means, 1.0),
        "The residual stream has no part in it: half of each row belongs to the token itself.",
    )
    expect_close(result, rollout(attentions)[:, 0], "This is not row 0 of `looking.rollout`.")
    by_rows = len(attentions) * 2 * B * N * N  # times and plus
    spent = counter.get_total_flops() / by_rows
    expect(
        spent < 4,
        f"The row is right, but it took {spent:.0f} times the arithmetic that one row needs: "
        "matrices were multiplied by matrices.",
    )


def _row(means: list[Tensor], share: float) -> Tensor:
    """Follow the class token down, from the last of these layers to the first."""
    row = torch.eye(means[0].shape[-1])[:1].expand(len(means[0]), -1, -1)
    for mean in reversed(means):
        row = share * row @ mean + (1 - share) * row
    return row[:, 0]


@exercise("12.2")
def painted(answer: Callable[[Tensor, Tensor, int, Tensor], Tensor]) -> None:
    """Paint over some patches of images."""
    for size, columns in ((2, 4), (3, 3)):
        pixels = torch.randn(2, 3, size * columns, size * columns)
        patches = torch.tensor([[1, 5], [columns**2 - 1, columns]])
        colour = torch.randn(3, 1, 1)
        wanted, flipped, alike = pixels.clone(), pixels.clone(), pixels.clone()
        for i, some in enumerate(patches.tolist()):
            for patch in some:
                row, column = size * (patch // columns), size * (patch % columns)
                wanted[i, :, row : row + size, column : column + size] = colour
                flipped[i, :, column : column + size, row : row + size] = colour
                alike[:, :, row : row + size, column : column + size] = colour
        result = answer(pixels, patches, size, colour)
        expect_not(
            result,
            flipped,
            "The patches were counted column by column. They are counted row by row, as one reads.",
        )
        expect_not(
            result,
            alike,
            "Every image lost the patches of all images. Each has its own.",
        )
        expect_not(result, pixels, "Nothing was painted.")
        expect_close(result, wanted, "Other pixels than those of the patches are different.")


@exercise("12.3")
def values_alone(answer: Callable[[Any, Tensor], Tensor]) -> None:
    """Compute what attention returns for each token if it looks only at itself."""
    layer = EncoderLayer(hidden_size=8, num_attention_heads=2, intermediate_size=12).eval()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    states = torch.randn(2, 5, 8)
    attention = layer.self_attn
    with torch.no_grad():
        result = answer(layer, states)
        normed = layer.layer_norm1(states)
        at_itself = torch.full((5, 5), -torch.inf).fill_diagonal_(0)
        wanted = attention(normed, at_itself)[0]
        value = attention.v_proj(normed)
        bare = attention.out_proj(attention.v_proj(states))
        stream = states + wanted
        whole = stream + layer.mlp(layer.layer_norm2(stream))
        as_it_is = attention(normed)[0]
    for mistake, sentence in (
        (value, "The values are still head by head: `out_proj` brings them back to the stream."),
        (bare, "The values are made from the states as they are. What does a layer read first?"),
        (stream, "The residual stream is in it. Wanted is what attention adds to it, alone."),
        (whole, "The residual stream and the MLP are in it. Wanted is attention's part, alone."),
        (as_it_is, "The tokens are mixed: that is attention as it is, with its weights."),
    ):
        expect_not(result, mistake, sentence)
    expect_close(result, wanted, "This is not what attention gives if each token sees only itself.")


@exercise("12.4")
def looked_at(answer: Callable[[Tensor], Tensor]) -> None:
    """Count over how many tokens a row of attention is spread."""
    for N in (4, 6):
        first = torch.eye(N)[:1]
        some = torch.ones(1, N) / N
        half = (torch.arange(N) < N // 2).float()[None] * 2 / N
        drawn = torch.randn(3, N).softmax(-1).tril(1)
        weights = torch.cat([first, some, half, drawn / drawn.sum(-1, keepdim=True)])[None]
        result = answer(weights)
        expect(
            not (isinstance(result, Tensor) and result.isnan().any()),
            "There is a NaN in it. A weight may be exactly 0, as in a text above the diagonal, and "
            "the logarithm of 0 is minus infinity.",
        )
        entropy = torch.special.entr(weights).sum(-1)
        expect_not(
            result,
            entropy,
            "That is the entropy, and of a single token it is 0. Its exponential counts.",
        )
        expect_not(
            result,
            (weights > 0).sum(-1),
            "That counts every weight above 0, however small it is.",
        )
        expect_close(result, entropy.exp(), "A row that is even over k tokens should give k.")
