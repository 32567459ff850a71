"""How much arithmetic a step needs, and how fast this machine multiplies the same matrices.

Counted is what no exact method can leave out, with one context for all classes in front of the
names: each token that differs from those of the other classes once, no token behind an end, and in
the last layer only keys and values of all tokens and the rest of the ends. Backward needs the
gradient of the inputs, not of the weights, and none of the start token, which no context reaches.
Norms, activations, softmax and sums are not counted: so the share that a step reaches of the speed
of matrix products is below 1 even if nothing is wasted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipnotes.compat import text_projection, text_tower
from clipnotes.prompts.layout import Layout
from setting import Setting, now, shapes


class Tokens(NamedTuple):
    """What has to be computed: tokens, and who looks at whom."""

    rows: int  # tokens
    ends: int  # classes
    pairs: int  # a token and one that it looks at, itself included
    end_pairs: int  # of these, those of the ends

    @classmethod
    def count(cls, layout: Layout) -> Tokens:
        """Count for a context that all classes share, right behind the start."""
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
    """Count a multiplication and an addition each, in the products with weights, in one direction.

    Backward is the same product, transposed, for each row that the context reaches.
    """
    layers, width, wide, projected = shapes(model)
    keys_and_values = 2 * width**2
    rest = 2 * width**2 + 2 * width * wide  # query, output, MLP
    full = (layers - 1) * rows * (keys_and_values + rest)
    last = rows * keys_and_values + tokens.ends * rest
    return 2 * (full + last + tokens.ends * width * projected)


def attention_flops(model: torch.nn.Module, tokens: Tokens) -> int:
    """Count for scores and mixing, forward; backward takes twice as much."""
    layers, width, _, _ = shapes(model)
    return 4 * width * ((layers - 1) * tokens.pairs + tokens.end_pairs)


def necessary_flops(model: torch.nn.Module, layout: Layout) -> int:
    """Count for a whole step, forward and backward."""
    tokens = Tokens.count(layout)
    linear = linear_flops(model, tokens, tokens.rows)
    linear += linear_flops(model, tokens, tokens.rows - 1)  # backward, without the start
    return linear + 3 * attention_flops(model, tokens)


class Products:
    """The same matrix products as those of the necessary arithmetic, and nothing else."""

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
        """Multiply everything once, forward and backward: flops a second."""
        device = self.weights[0][1].device
        start = now(device)
        for rows, weight in self.weights:
            torch.mm(self.inputs[rows, weight.shape[1]], weight.T)
        for rows, weight in self.weights:
            torch.mm(self.inputs[rows, weight.shape[0]], weight)
        flops = sum(4 * rows * weight.numel() for rows, weight in self.weights)
        return flops / (now(device) - start)
