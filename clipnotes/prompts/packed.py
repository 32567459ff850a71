"""CLIP's text tower over packed prompts: the same numbers as transformers, without the waste.

Everything but attention treats each token by itself, so norms, projections and MLPs see one matrix
with all tokens of a chunk, (T, D). Attention has three parts to look at: what is common to all
prompts, the head of the own class, and the own tokens so far (see ``packing``). In the last layer
only the end tokens ask, since nothing else is read.

The weights are used where they are, detached: they get no gradient, and none is computed.

In the shape comments: T, packed tokens; Q, those of them that ask; D, the width of the tower; H,
heads; d, the width of a head; P, tokens of the common stretch.
"""

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipnotes.prompts.packing import Chunk, Group, Stretch


class Past(NamedTuple):
    """Keys and values that later tokens look back at, (T, D) each, one pair a layer."""

    keys: list[Tensor]
    values: list[Tensor]


def run_common(tower: Any, stretch: Stretch, ctx: Tensor) -> Past:
    """Compute what all prompts begin with.

    Args:
        tower: A text tower of transformers.
        stretch: The tokens, one sequence.
        ctx: (n_ctx, D), or (n_classes, n_ctx, D).
    """
    return _run_to_be_seen(tower, stretch, ctx, None)


def run_chunk(tower: Any, chunk: Chunk, ctx: Tensor, common: Past) -> Tensor:
    """Compute the rest of the prompts of some classes, up to the last norm.

    Args:
        tower: A text tower of transformers.
        chunk: The classes.
        ctx: (n_ctx, D), or (n_classes, n_ctx, D).
        common: What ``run_common`` gave.

    Returns:
        (n, D), the states of the end tokens.
    """
    # No context stands in a head, so no gradient passes through.
    heads = None if chunk.head is None else _run_to_be_seen(tower, chunk.head, ctx, common)
    x = _embed(tower, chunk.tail, ctx)  # (T, D)
    for i, layer in enumerate(tower.encoder.layers):
        normed = _norm(layer.layer_norm1, x)
        keys, values = _keys_and_values(layer, normed)
        if i == len(tower.encoder.layers) - 1:
            x, normed = x[chunk.tail.ends], normed[chunk.tail.ends]  # (Q, D)
        x = _finish(layer, x, normed, _Seen(keys, values, chunk.tail.groups, i, common, heads))
    return _norm(tower.final_layer_norm, x)


def bytes_per_token(tower: Any, longest: int, keeps: bool) -> int:
    """Estimate what ``run_chunk`` takes for each token.

    Args:
        tower: A text tower of transformers.
        longest: Tokens that the longest prompt has, which a token may look at.
        keeps: All layers are kept for a gradient, not only one at a time.
    """
    attention, mlp = tower.encoder.layers[0].self_attn, tower.encoder.layers[0].mlp
    width, wide = attention.embed_dim, mlp.fc1.out_features
    n_layers = len(tower.encoder.layers) if keeps else 1
    # Kept: two inputs of norms, query and its scaled self, key and value as they are and by head,
    # shares of attention, twice, and the MLP before and after its sigmoid. Then one layer's rest.
    kept = 8 * width + 2 * attention.num_heads * longest + 2 * wide
    passing = 4 * width + 2 * attention.num_heads * longest + 3 * wide
    return (n_layers * kept + passing) * mlp.fc1.weight.element_size()


def _run_to_be_seen(tower: Any, stretch: Stretch, ctx: Tensor, common: Past | None) -> Past:
    """Run the layers for the sake of keys and values only."""
    past = Past([], [])
    x = _embed(tower, stretch, ctx)  # (T, D)
    for i, layer in enumerate(tower.encoder.layers):
        normed = _norm(layer.layer_norm1, x)
        keys, values = _keys_and_values(layer, normed)
        past.keys.append(keys)
        past.values.append(values)
        if i < len(tower.encoder.layers) - 1:  # what the last layer makes of them, nobody sees
            x = _finish(layer, x, normed, _Seen(keys, values, stretch.groups, i, common, None))
    return past


def _embed(tower: Any, stretch: Stretch, ctx: Tensor) -> Tensor:
    embeddings = tower.embeddings
    tokens = F.embedding(stretch.ids, embeddings.token_embedding.weight.detach())  # (T, D)
    if len(stretch.ctx_rows):
        vectors = ctx.flatten(0, -2).to(tokens).index_select(0, stretch.ctx_index)
        tokens = tokens.index_copy(0, stretch.ctx_rows, vectors)
    places = embeddings.position_ids[0, stretch.places]
    return tokens + F.embedding(places, embeddings.position_embedding.weight.detach())


class _Seen(NamedTuple):
    """What there is to look at in one layer."""

    keys: Tensor
    values: Tensor
    groups: tuple[Group, ...]
    layer: int
    common: Past | None
    heads: Past | None


def _keys_and_values(layer: Any, normed: Tensor) -> tuple[Tensor, Tensor]:
    attention = layer.self_attn
    return _linear(attention.k_proj, normed), _linear(attention.v_proj, normed)


def _finish(layer: Any, x: Tensor, normed: Tensor, seen: _Seen) -> Tensor:
    """Let (Q, D) tokens ask and go through the MLP; ``normed`` is ``x`` after the first norm."""
    attention, mlp = layer.self_attn, layer.mlp
    query = _linear(attention.q_proj, normed) * attention.scale
    x = x + _linear(attention.out_proj, _attend(query, seen, attention.num_heads))
    wide = _linear(mlp.fc1, _norm(layer.layer_norm2, x))  # (Q, intermediate_size)
    return x + _linear(mlp.fc2, mlp.activation_fn(wide))


def _attend(query: Tensor, seen: _Seen, n_heads: int) -> Tensor:
    """Mix the values that each of the (Q, D) queries sees: (Q, D).

    Whoever asks does so at the end of its sequence: either all of its tokens, or the last one.
    """
    groups, common = seen.groups, None
    n_tokens = sum(n * length for n, length, _ in groups)
    asks = [length if len(query) == n_tokens else 1 for _, length, _ in groups]
    sizes = [group.n * n for group, n in zip(groups, asks, strict=True)]
    query = query.unflatten(1, (n_heads, -1))  # (Q, H, d)
    if seen.common is not None:
        common = [
            kind[seen.layer].unflatten(1, (n_heads, -1)).transpose(0, 1)  # (H, P, d)
            for kind in seen.common
        ]
        scores = (query.transpose(0, 1) @ common[0].transpose(1, 2)).transpose(0, 1)  # (Q, H, P)
        far = scores.split(sizes)
    keys, values = _own(seen, "keys", n_heads), _own(seen, "values", n_heads)
    weights, mixed = [], []
    for i, (group, asked) in enumerate(zip(query.split(sizes), asks, strict=True)):
        block = group.unflatten(0, (-1, asked)).transpose(1, 2)  # (n, H, asked, d)
        own = block @ keys[i].transpose(-1, -2)  # (n, H, asked, head + length)
        n_own = own.shape[-1]
        if asked > 1:
            ahead = torch.ones(asked, n_own, dtype=torch.bool, device=own.device)
            own = own.masked_fill(ahead.triu(n_own - asked + 1), -torch.inf)
        if common is not None:
            before = far[i].unflatten(0, (-1, asked)).transpose(1, 2)  # (n, H, asked, P)
            own = torch.cat([before, own], dim=-1)
        # The sum of exponentials needs more digits than half precision has.
        at_least_float32 = torch.promote_types(own.dtype, torch.float32)
        shares = own.softmax(dim=-1, dtype=at_least_float32).to(own.dtype)
        if common is not None:
            weights.append(shares[..., :-n_own].transpose(1, 2).flatten(0, 1))  # (Q of it, H, P)
        mixed.append((shares[..., -n_own:] @ values[i]).transpose(1, 2).flatten(0, 1))
    out = torch.cat(mixed)  # (Q, H, d)
    if common is not None:
        out = out + (torch.cat(weights).transpose(0, 1) @ common[1]).transpose(0, 1)
    return out.flatten(1)  # (Q, D)


def _own(seen: _Seen, kind: Literal["keys", "values"], n_heads: int) -> list[Tensor]:
    """Cut keys or values into the groups' own: (n, H, head + length, d) each."""
    packed: Tensor = getattr(seen, kind)
    rows = packed.split([n * length for n, length, _ in seen.groups])
    own = [part.unflatten(0, (n, -1)) for part, (n, _, _) in zip(rows, seen.groups, strict=True)]
    if seen.heads is not None:
        rows = getattr(seen.heads, kind)[seen.layer].split([n * head for n, _, head in seen.groups])
        own = [
            torch.cat([head.reshape(n, n_head, part.shape[-1]), part], dim=1)
            for head, part, (n, _, n_head) in zip(rows, own, seen.groups, strict=True)
        ]
    return [part.unflatten(-1, (n_heads, -1)).transpose(1, 2) for part in own]


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    bias = None if module.bias is None else module.bias.detach()
    return F.linear(x, module.weight.detach(), bias)


def _norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    weight = None if module.weight is None else module.weight.detach()
    bias = None if module.bias is None else module.bias.detach()
    return F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)
