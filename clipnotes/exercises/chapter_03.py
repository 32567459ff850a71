"""Checks of chapter 3, inside an encoder layer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clipnotes.exercises.marks import exercise, expect, expect_close, is_close


@exercise("3.1")
def attend(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Scaled dot-product attention from queries, keys and values, compared with PyTorch's own."""
    q, k, v = torch.randn(3, 2, 4, 5, 16)  # each (B, n_heads, N, head_dim)
    mixed = answer(q, k, v)
    raw = q @ k.transpose(-1, -2)
    expect(
        not is_close(mixed, raw.softmax(-1) @ v),
        "The scores are too large: they still grow with the width of a head.",
    )
    expect(
        not is_close(mixed, raw * 16**-0.5 @ v),
        "The scores are no weights yet: a row of weights is positive and sums to 1.",
    )
    expect(
        not is_close(mixed, (raw * 16**-0.5).softmax(-2) @ v),
        "The softmax goes over the wrong axis: each token that asks has 1 to share among those "
        "that answer.",
    )
    expect(
        not is_close(mixed, (raw * 16**-0.5).softmax(-1)),
        "These are the weights. The result is the mean of the values with these weights.",
    )
    wanted = F.scaled_dot_product_attention(q, k, v)
    expect_close(mixed, wanted, "This is not PyTorch's scaled_dot_product_attention.")
