"""Checks of chapter 3, inside an encoder layer."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipnotes.compat import vision_states, vision_tower
from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.exercises.small import small_clip, small_pictures
from clipnotes.model.encoder import EncoderLayer

Step = Callable[[Tensor], Tensor]


@exercise("3.1")
def attend(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Compute attention from queries, keys and values."""
    q, k, v = torch.randn(3, 2, 4, 5, 16)  # each (B, H, L, d)
    mixed = answer(q, k, v)
    raw = q @ k.transpose(-1, -2)
    scores = raw * 16**-0.5
    expect_not(
        mixed,
        raw.softmax(-1) @ v,
        "The scores are too large: they still grow with the width of a head.",
    )
    expect_not(
        mixed,
        scores @ v,
        "The scores are no weights yet: a row of weights is positive and sums to 1.",
    )
    expect_not(
        mixed,
        scores.softmax(-2) @ v,
        "The softmax goes over the wrong axis: each token that asks has 1 to share among those "
        "that answer.",
    )
    expect_not(
        mixed,
        scores.softmax(-1),
        "These are the weights. The result is the mean of the values with these weights.",
    )
    wanted = F.scaled_dot_product_attention(q, k, v)
    expect_close(mixed, wanted, "This is not what PyTorch's scaled_dot_product_attention gives.")


@exercise("3.2")
def layer_size(answer: Callable[[int, int], int]) -> None:
    """Count a layer's parameters."""
    for wide, inner in ((8, 20), (12, 20), (16, 5)):
        result = answer(wide, inner)
        parts = EncoderLayer(hidden_size=wide, num_attention_heads=2, intermediate_size=inner)
        wanted = sum(p.numel() for p in parts.parameters())
        where = f"Of a layer with D = {wide} and M = {inner}, "
        missing = wanted - result
        likely = {
            4 * wide: "as many numbers are missing as two norms have, or attention's biases.",
            5 * wide + inner: "the biases of the linear layers are missing.",
            wide + inner: "the biases of the MLP's two linear layers are missing.",
            wide * (wide + 1): "one linear layer of attention is missing: there are the three "
            "views of a token, and what follows them.",
            2 * wide: "the norms are too small: each can stretch and can shift.",
        }
        expect(missing not in likely, where + likely.get(missing, ""))
        more = "many" if missing < 0 else "few"
        expect(missing == 0, f"{where}that is too {more}, by {abs(missing)}.")


@exercise("3.3")
def head_share(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Compute one head's share of what attention returns; all shares sum to the whole."""
    n_heads, head_dim = 3, 4
    width = n_heads * head_dim
    mixed = torch.randn(2, n_heads, 5, head_dim)
    weight = torch.randn(width, width)
    for h in range(n_heads):
        result = answer(mixed, weight, h)
        columns = slice(h * head_dim, (h + 1) * head_dim)
        expect_not(
            result,
            mixed[:, h] @ weight[columns],
            "You cut the rows of the weight. A row makes one channel of the result, and all heads "
            "have a part in it; look for what a head's channels are multiplied with.",
        )
        expect_not(
            result,
            mixed[:, h] @ weight[:, h::n_heads].T,
            "A head's channels are neighbours; you took every so many.",
        )
        if h > 0:
            expect_not(
                result,
                mixed[:, h] @ weight[:, :head_dim].T,
                "That is right for head 0 only: the columns must move with the head.",
            )
        alone = torch.zeros_like(mixed)
        alone[:, h] = mixed[:, h]
        wanted = F.linear(alone.transpose(1, 2).flatten(2), weight)
        expect_close(result, wanted, f"The share of head {h} is not right.")


@exercise("3.4")
def mask(answer: Callable[[int], Tensor]) -> None:
    """Make a mask that lets the class token see only itself, and the others everything."""
    n = 6
    result = answer(n)
    expect(
        isinstance(result, Tensor) and result.shape[-2:] == (n, n) and result.numel() == n * n,
        f"For {n} tokens, a mask of shape ({n}, {n}) is wanted.",
    )
    expect(
        result.dtype.is_floating_point and not (result == 1).any(),
        "A mask is added to the scores: it is 0 where a token may look, and so far below 0 where "
        "it may not that the softmax makes 0 of it.",
    )
    scores = torch.randn(2, n, n)
    weights = (scores + result).softmax(-1)
    expect(
        not weights.isnan().any(),
        "A row lets a token look nowhere, not even at itself: its softmax is NaN.",
    )
    expect(
        not (weights[:, 1:, 0] == 0).any(),
        "With this mask other tokens may not look at the class token. Rows ask, columns answer.",
    )
    expect((weights[:, 0, 1:] == 0).all(), "The class token still looks at others.")
    expect_close(
        weights[:, 1:], scores.softmax(-1)[:, 1:], "Another token does not see all that it may."
    )


@exercise("3.5")
def layer(answer: Callable[[Tensor, Step, Step, Step, Step], Tensor]) -> None:
    """Put a layer together from its parts."""
    model = small_clip()
    tower: Any = vision_tower(model)
    parts = tower.encoder.layers[1]

    def attention(tokens: Tensor) -> Tensor:
        return parts.self_attn(hidden_states=tokens)[0]

    mlp, norm1, norm2 = parts.mlp, parts.layer_norm1, parts.layer_norm2
    with torch.no_grad():
        states = vision_states(model, small_pictures()).hidden_states
        x = states[1]
        result = answer(x, attention, mlp, norm1, norm2)
        between = x + attention(norm1(x))
        post = norm1(x + attention(x))
        mistakes = {
            "That is post-norm: the sums are normalised. In CLIP the norm stands before a part, "
            "and the stream itself stays as it is.": norm2(post + mlp(post)),
            "Nothing is normalised.": x + attention(x) + mlp(x + attention(x)),
            "The MLP reads the stream as it was before attention was added.": between
            + mlp(norm2(x)),
            "What attention found is not added to the stream, it replaces it.": attention(norm1(x))
            + mlp(norm2(attention(norm1(x)))),
            "What the MLP found is not added to the stream, it replaces it.": mlp(norm2(between)),
            "The two norms are interchanged.": x
            + attention(norm2(x))
            + mlp(norm1(x + attention(norm2(x)))),
            "That is the stream after attention; the MLP is still to come.": between,
        }
        for sentence, wrong in mistakes.items():
            expect_not(result, wrong, sentence)
    expect_close(result, states[2], "This is not what a layer of transformers gives.")
