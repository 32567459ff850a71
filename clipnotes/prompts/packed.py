"""Run CLIP's text tower over packed prompts: the same numbers as transformers, with less work.

Everything but attention treats each token by itself, so norms, projections and MLPs work on one
matrix with all tokens of a chunk. Attention works on blocks of them (see ``packing``). In the last
layer only the end tokens have queries, since nothing else is read.

The weights are read in place and detached, so no gradient is computed for them.

Several contexts can run at once, as a method needs whose context depends on the image. Each row
then holds ``n_contexts`` vectors, which attention treats as so many times as many heads.

In shapes, n_tokens counts the packed tokens, n_asking those with a query, n_common those common to
all prompts; H is the number of heads, D the width of the tower and d that of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

from clipnotes.prompts.packing import BLOCK, Chunk, Stretch

Seen = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (n_tokens, n_contexts, D)


def run_chunk(tower: Any, chunk: Chunk, vectors: Tensor) -> Tensor:
    """Compute the prompts of some classes; return their end states, (n, n_contexts, D).

    ``vectors`` is (n_vectors, n_contexts, D) and holds the context vectors that ``ctx_index``
    counts. A shared context has n_ctx of them, and one per class has n_classes * n_ctx.
    """
    seen = None
    if chunk.constant is not None:  # it holds no context, so no gradient passes through it
        seen = _run(tower, chunk.constant, vectors[:, :1], None, None)[1]
        groups = vectors.shape[1]
        seen = [(k.expand(-1, groups, -1), v.expand(-1, groups, -1)) for k, v in seen]
    x, _ = _run(tower, chunk.rest, vectors, seen, chunk.ends)
    return _norm(tower.final_layer_norm, x)


def _run(
    tower: Any, stretch: Stretch, vectors: Tensor, before: Seen | None, ends: Tensor | None
) -> tuple[Tensor, Seen]:
    """Run all layers, and read them at ``ends``; without ends, only keep keys and values."""
    x, seen = _embed(tower, stretch, vectors), Seen()  # (n_tokens, n_contexts, D)
    last = len(tower.encoder.layers) - 1
    for i, layer in enumerate(tower.encoder.layers):
        attention = layer.self_attn
        normed = _norm(layer.layer_norm1, x)
        keys, values = _linear(attention.k_proj, normed), _linear(attention.v_proj, normed)
        if ends is None:
            seen.append((keys, values))
            if i == last:
                break
        if before is not None:
            keys, values = torch.cat([before[i][0], keys]), torch.cat([before[i][1], values])
        asking = ends if i == last else None
        if asking is not None:
            x, normed = _rows(x, asking), _rows(normed, asking)  # (n_asking, n_contexts, D)
        query = _linear(attention.q_proj, normed)
        mixed = _attend(attention, query, keys, values, stretch, asking)
        x = x + _linear(attention.out_proj, mixed)
        x = _mlp(layer.mlp, _norm(layer.layer_norm2, x), x)
    return x, seen


def _embed(tower: Any, stretch: Stretch, vectors: Tensor) -> Tensor:
    embeddings = tower.embeddings
    tokens = F.embedding(stretch.ids, embeddings.token_embedding.weight.detach()).unsqueeze(1)
    tokens = tokens.expand(-1, vectors.shape[1], -1)  # (n_tokens, n_contexts, D)
    if len(stretch.ctx_rows):
        ctx = _rows(vectors, stretch.ctx_index).to(tokens)
        tokens = tokens.index_copy(0, stretch.ctx_rows, ctx)
    places = embeddings.position_ids[0, stretch.places]
    positions = F.embedding(places, embeddings.position_embedding.weight.detach())
    return tokens + positions.unsqueeze(1)


def _attend(
    attention: Any,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    stretch: Stretch,
    ends: Tensor | None,
) -> Tensor:
    """Mix the values that each query sees; all rows ask, or those at ``ends``.

    Returns (n_asking, n_contexts, D).
    """
    asks, slots, n_asking = stretch.asks, stretch.slots, stretch.n_common
    if ends is not None:
        slots, n_asking = slots[ends - stretch.n_common], 0
        numbers = torch.arange(len(ends), device=ends.device)
        asks = torch.zeros_like(asks).flatten().scatter(0, slots, numbers).view_as(asks)
    n_blocks, _, _, n_seen = stretch.visible.shape
    n_common = n_seen - stretch.sees.shape[1]
    shape = query.shape[1:]  # (n_contexts, D)
    query, keys, values = (part.flatten(1) for part in (query, keys, values))  # (..., n_contexts D)
    # We split rather than slice, because the gradients of a split are joined in one step.
    both = [part.split([n_common, len(part) - n_common]) for part in (keys, values)]
    first, query = query.split([n_asking, len(query) - n_asking])
    mixed = []
    if n_asking:  # common tokens see each other only
        parts = (first, both[0][0], both[1][0])  # (n_common, n_contexts D) each
        q, k, v = (
            _by_head(part.unsqueeze(0), attention) for part in parts
        )  # (1, n_contexts H, n_common, d)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=attention.scale)
        mixed.append(out.transpose(1, 2).flatten(2).squeeze(0))  # (n_common, n_contexts D)
    if len(slots):
        q = _by_head(_rows(query, asks), attention)  # (n_blocks, n_contexts H, n_slots, d)
        k, v = (
            # We expand the common rows instead of picking them. Then the gradient
            # of a row that all blocks see is one sum, and keeps its digits in half
            # precision.
            torch.cat([common.expand(n_blocks, -1, -1), _rows(own, stretch.sees)], dim=1)
            for common, own in both
        )  # (n_blocks, all that is seen, n_contexts D)
        k, v = _by_head(k, attention), _by_head(v, attention)
        mask = stretch.visible
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attention.scale)
        mixed.append(_rows(out.transpose(1, 2).flatten(2).flatten(0, 1), slots))
    return torch.cat(mixed).unflatten(1, shape)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    # This is x[index], but its gradient is summed row by row instead of being sorted first.
    return F.embedding(index, x.flatten(1)).unflatten(-1, x.shape[1:])


def _by_head(x: Tensor, attention: Any) -> Tensor:
    return x.unflatten(2, (-1, attention.head_dim)).transpose(
        1, 2
    )  # (n_blocks, n_contexts H, n_slots, d)


def _mlp(mlp: Any, normed: Tensor, x: Tensor) -> Tensor:
    """Add the MLP's output for ``normed`` to ``x``."""
    known = type(mlp.activation_fn) is QuickGELUActivation
    if not known or mlp.fc1.bias is None or mlp.fc2.bias is None:
        return x + _linear(mlp.fc2, mlp.activation_fn(_linear(mlp.fc1, normed)))
    # QuickGELU is y sigmoid(ay) = silu(ay) / a. With silu it takes one kernel instead of three and
    # keeps one tensor for the gradient. The matrix products take in the factors at no cost.
    a = 1.702
    first, second = [(fc.weight.detach(), fc.bias.detach()) for fc in (mlp.fc1, mlp.fc2)]
    rows = normed.flatten(0, 1)
    wide = torch.addmm(first[1], rows, first[0].T, beta=a, alpha=a)  # (n_asking n_contexts, 4D)
    out = F.linear(F.silu(wide), second[0]).view_as(x)
    return torch.add(x + second[1], out, alpha=1 / a)


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    bias = None if module.bias is None else module.bias.detach()
    return F.linear(x, module.weight.detach(), bias)


def _norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    weight = None if module.weight is None else module.weight.detach()
    bias = None if module.bias is None else module.bias.detach()
    return F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)


def bytes_per_token(tower: Any, longest: int, keeps: bool) -> int:
    """Estimate what ``run_chunk`` needs per token, with all layers kept for a gradient or not."""
    attention, mlp = tower.encoder.layers[0].self_attn, tower.encoder.layers[0].mlp
    width, wide = attention.embed_dim, mlp.fc1.out_features
    # A layer keeps the inputs of its two norms, the query, the keys and values in blocks, what
    # attention returns and one tensor of the MLP. Some kernels also keep the attention weights.
    shares = attention.num_heads * (longest + max(longest, BLOCK))
    kept = 9 * width + shares + wide
    passing = 6 * width + shares + 3 * wide
    n_layers = len(tower.encoder.layers) if keeps else 1
    return (n_layers * kept + passing) * mlp.fc1.weight.element_size()
