"""Count the arithmetic that a step needs, and time this machine on the same matrix products.

We count what no exact method can leave out, for one context of all classes in front of the names:
tokens that several classes share only once, no token behind an end, and in the last layer keys and
values of all tokens but everything else only of the ends. Backward needs the gradient of the inputs
but not of the weights, and none for the start token, which no context reaches. Norms, activations,
softmax and sums are not counted. So even a perfect step does not reach the full speed of matrix
products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipnotes.compat import text_projection, text_tower
from clipnotes.prompts.layout import Layout
from setting import Setting, now, shapes


class Tokens(NamedTuple):
    """What has to be computed: tokens, and pairs of which one looks at the other."""

    rows: int  # tokens
    ends: int  # classes
    pairs: int  # of a token and one that it looks at, itself included
    end_pairs: int  # those pairs in which an end looks

    @classmethod
    def count(cls, layout: Layout) -> Tokens:
        """Count them for a context that all classes share, right behind the start."""
        n_ctx = layout.ctx_positions.shape[1]
        if not torch.equal(layout.ctx_positions[:, -1], torch.full_like(layout.eos, n_ctx)):
            raise ValueError("the context does not stand in front of the names")
        shared = 1 + n_ctx  # tokens
        lengths = layout.eos + 1 - shared  # (n_classes,)
        n = len(lengths)
        triangle = shared * (shared + 1) // 2
        pairs = triangle + int((lengths * shared + lengths * (lengths + 1) // 2).sum())
        return cls(shared + int(lengths.sum()), n, pairs, int((layout.eos + 1).sum()))


def linear_flops(model: torch.nn.Module, tokens: Tokens, rows: int) -> int:
    """Count multiplications and additions in the products with weights, in one direction."""
    layers, width, wide, projected = shapes(model)
    keys_and_values = 2 * width**2
    rest = 2 * width**2 + 2 * width * wide  # query, output, MLP
    full = (layers - 1) * rows * (keys_and_values + rest)
    last = rows * keys_and_values + tokens.ends * rest
    return 2 * (full + last + tokens.ends * width * projected)


def attention_flops(model: torch.nn.Module, tokens: Tokens) -> int:
    """Count those of scores and mixing, forward; backward needs twice as many."""
    layers, width, _, _ = shapes(model)
    return 4 * width * ((layers - 1) * tokens.pairs + tokens.end_pairs)


def necessary_flops(model: torch.nn.Module, layout: Layout) -> int:
    """Count those of a whole step, forward and backward."""
    tokens = Tokens.count(layout)
    linear = linear_flops(model, tokens, tokens.rows)
    linear += linear_flops(model, tokens, tokens.rows - 1)  # backward, without the start
    return linear + 3 * attention_flops(model, tokens)


class Products:
    """The matrix products of the necessary arithmetic, and nothing else."""

    def __init__(self, setting: Setting) -> None:
        tower: Any = text_tower(setting.model)
        self.tokens = Tokens.count(setting.layout)
        self.weights: list[tuple[int, Tensor]] = []  # rows, (out, in)
        last = len(tower.encoder.layers) - 1
        for i, layer in enumerate(tower.encoder.layers):
            attention, mlp = layer.self_attn, layer.mlp
            rest = self.tokens.rows if i < last else self.tokens.ends
            for module in (attention.k_proj, attention.v_proj):
                self.weights.append((self.tokens.rows, module.weight.detach()))
            for module in (attention.q_proj, attention.out_proj, mlp.fc1, mlp.fc2):
                self.weights.append((rest, module.weight.detach()))
        projection: Any = text_projection(setting.model)
        self.weights.append((self.tokens.ends, projection.weight.detach()))
        sizes = {(rows, size) for rows, weight in self.weights for size in weight.shape}
        where = {"device": projection.weight.device, "dtype": projection.weight.dtype}
        self.inputs = {size: torch.randn(size, **where) for size in sizes}

    def speed(self) -> float:
        """Multiply everything once, forward and backward; return the flops per second."""
        device = self.weights[0][1].device
        start = now(device)
        for rows, weight in self.weights:
            torch.mm(self.inputs[rows, weight.shape[1]], weight.T)
        for rows, weight in self.weights:
            torch.mm(self.inputs[rows, weight.shape[0]], weight)
        flops = sum(4 * rows * weight.numel() for rows, weight in self.weights)
        return flops / (now(device) - start)
