"""CLIP's text tower over packed prompts: the same numbers as transformers, without the waste.

Everything but attention treats each token by itself, so norms, projections and MLPs see one matrix
with all tokens of a chunk. For attention they are laid into blocks (see ``packing``). In the last
layer only the end tokens ask, since nothing else is read.

The weights are used where they are, detached: they get no gradient, and none is computed.

The same prompts may be computed with several contexts at once, G of them, as a context that depends
on a picture needs. Every row is then G vectors wide; to attention that is G times as many heads.

In the shape comments: T, packed tokens; Q, those of them that ask; D, the width of the tower; P,
tokens that are common to all prompts; B, blocks; S, slots in a block; H, heads; d, width of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

from clipnotes.prompts.packing import BLOCK, Chunk, Stretch

Seen = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (T, G, D)


def run_chunk(tower: Any, chunk: Chunk, vectors: Tensor) -> Tensor:
    """Compute the prompts of some classes, with one context or with several.

    Args:
        tower: A text tower of transformers that ``known`` knows.
        chunk: The classes.
        vectors: (K, G, D), the vectors that ``ctx_index`` counts, of each of G contexts. A shared
            context has K = n_ctx of them, one per class K = n_classes * n_ctx.

    Returns:
        (n, G, D), the states of the end tokens after the last norm.

    Example:
        >>> import clipnotes
        >>> from clipnotes.prompts.layout import Layout
        >>> from clipnotes.prompts.packing import pack
        >>> clip = clipnotes.load()
        >>> layout = Layout.build(clip.tokenizer, ["rose", "tulip"], 4, limit=32)
        >>> (chunk,) = pack(layout, False, 1000, torch.device("cpu")).chunks
        >>> run_chunk(clip.model.text_model, chunk, torch.zeros(4, 3, 128)).shape
        torch.Size([2, 3, 128])
    """
    seen = None
    if chunk.constant is not None:  # no gradient passes through it
        seen = _run(tower, chunk.constant, vectors[:, :1], None, None)[1]
        groups = vectors.shape[1]
        seen = [(k.expand(-1, groups, -1), v.expand(-1, groups, -1)) for k, v in seen]
    x, _ = _run(tower, chunk.rest, vectors, seen, chunk.ends)
    return _norm(tower.final_layer_norm, x)


def _run(
    tower: Any, stretch: Stretch, vectors: Tensor, before: Seen | None, ends: Tensor | None
) -> tuple[Tensor, Seen]:
    """Run all layers, to be read at ``ends``, or else for the sake of keys and values only."""
    x, seen = _embed(tower, stretch, vectors), Seen()  # (T, G, D)
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
            x, normed = _rows(x, asking), _rows(normed, asking)  # (Q, G, D)
        query = _linear(attention.q_proj, normed)
        mixed = _attend(attention, query, keys, values, stretch, asking)
        x = x + _linear(attention.out_proj, mixed)
        x = _mlp(layer.mlp, _norm(layer.layer_norm2, x), x)
    return x, seen


def _embed(tower: Any, stretch: Stretch, vectors: Tensor) -> Tensor:
    embeddings = tower.embeddings
    tokens = F.embedding(stretch.ids, embeddings.token_embedding.weight.detach()).unsqueeze(1)
    tokens = tokens.expand(-1, vectors.shape[1], -1)  # (T, G, D)
    if len(stretch.ctx_rows):
        own = _rows(vectors, stretch.ctx_index).to(tokens)
        tokens = tokens.index_copy(0, stretch.ctx_rows, own)
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
    """Mix the values that each query sees: (Q, G, D). All rows ask, or those at ``ends``."""
    asks, slots, n_asking = stretch.asks, stretch.slots, stretch.n_common
    if ends is not None:
        slots, n_asking = slots[ends - stretch.n_common], 0
        numbers = torch.arange(len(ends), device=ends.device)
        asks = torch.zeros_like(asks).flatten().scatter(0, slots, numbers).view_as(asks)
    n_blocks, _, _, n_seen = stretch.visible.shape
    n_common = n_seen - stretch.sees.shape[1]
    shape = query.shape[1:]  # (G, D)
    query, keys, values = (part.flatten(1) for part in (query, keys, values))  # (…, G D)
    # Split, not sliced: its gradient is put together again in one go.
    both = [part.split([n_common, len(part) - n_common]) for part in (keys, values)]
    first, query = query.split([n_asking, len(query) - n_asking])
    mixed = []
    if n_asking:  # common tokens see each other only
        parts = (first, both[0][0], both[1][0])  # (P, G D) each
        q, k, v = (_by_head(part.unsqueeze(0), attention) for part in parts)  # (1, G H, P, d)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=attention.scale)
        mixed.append(out.transpose(1, 2).flatten(2).squeeze(0))  # (P, G D)
    if len(slots):
        q = _by_head(_rows(query, asks), attention)  # (B, G H, S, d)
        k, v = (
            # The common ones are expanded, not picked: the gradient of a row that all blocks see
            # is then one sum, and keeps its digits in half precision.
            torch.cat([common.expand(n_blocks, -1, -1), _rows(own, stretch.sees)], dim=1)
            for common, own in both
        )  # (B, all that is seen, G D)
        k, v = _by_head(k, attention), _by_head(v, attention)
        mask = stretch.visible
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attention.scale)
        mixed.append(_rows(out.transpose(1, 2).flatten(2).flatten(0, 1), slots))
    return torch.cat(mixed).unflatten(1, shape)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    # As x[index], but its gradient is summed row by row, not sorted.
    return F.embedding(index, x.flatten(1)).unflatten(-1, x.shape[1:])


def _by_head(x: Tensor, attention: Any) -> Tensor:
    return x.unflatten(2, (-1, attention.head_dim)).transpose(1, 2)  # (B, G H, S, d)


def _mlp(mlp: Any, normed: Tensor, x: Tensor) -> Tensor:
    """Add what the MLP makes of ``normed`` to ``x``."""
    known = type(mlp.activation_fn) is QuickGELUActivation
    if not known or mlp.fc1.bias is None or mlp.fc2.bias is None:
        return x + _linear(mlp.fc2, mlp.activation_fn(_linear(mlp.fc1, normed)))
    # y sigmoid(ay) = silu(ay) / a. One kernel instead of three, one tensor kept for the gradient,
    # and the factors cost nothing where the matrix products are added up.
    a, (first, second) = (
        1.702,
        [(fc.weight.detach(), fc.bias.detach()) for fc in (mlp.fc1, mlp.fc2)],
    )
    rows = normed.flatten(0, 1)
    wide = torch.addmm(first[1], rows, first[0].T, beta=a, alpha=a)  # (Q G, intermediate_size)
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
    """Estimate what ``run_chunk`` takes for each token.

    Args:
        tower: A text tower of transformers that ``known`` knows.
        longest: Tokens that the longest prompt has.
        keeps: All layers are kept for a gradient, not only one at a time.

    Example:
        >>> import clipnotes
        >>> tower = clipnotes.load().model.text_model
        >>> bytes_per_token(tower, 32, True) > bytes_per_token(tower, 32, False)
        True
    """
    attention, mlp = tower.encoder.layers[0].self_attn, tower.encoder.layers[0].mlp
    width, wide = attention.embed_dim, mlp.fc1.out_features
    # Kept are two inputs of norms, query, keys and values in blocks, what attention gives, and
    # one tensor of the MLP; where a kernel keeps the shares of attention, these too.
    shares = attention.num_heads * (longest + max(longest, BLOCK))
    kept = 9 * width + shares + wide
    passing = 6 * width + shares + 3 * wide
    n_layers = len(tower.encoder.layers) if keeps else 1
    return (n_layers * kept + passing) * mlp.fc1.weight.element_size()
