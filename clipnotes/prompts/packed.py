"""CLIP's text tower over packed prompts: the same numbers as transformers, without the waste.

Everything but attention treats each token by itself, so norms, projections and MLPs see one matrix
with all tokens of a chunk. For attention they are laid into blocks (see ``packing``). In the last
layer only the end tokens ask, since nothing else is read.

The weights are used where they are, detached: they get no gradient, and none is computed.

In the shape comments: T, packed tokens; Q, those of them that ask; D, the width of the tower; P,
tokens that are common to all prompts; B, blocks; S, slots in a block; H, heads; d, width of a head.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation

from clipnotes.prompts.packing import BLOCK, Chunk, Stretch


class Seen(NamedTuple):
    """Keys or values of one layer, which others look at: (P, D), and in blocks (B, S, D)."""

    common: Tensor
    own: Tensor


def run_chunk(tower: Any, chunk: Chunk, ctx: Tensor) -> Tensor:
    """Compute the prompts of some classes.

    Args:
        tower: A text tower of transformers that ``known`` knows.
        chunk: The classes.
        ctx: (n_ctx, D), or (n_classes, n_ctx, D).

    Returns:
        (n, D), the states of the end tokens after the last norm.

    Example:
        >>> import clipnotes
        >>> from clipnotes.prompts.layout import Layout
        >>> from clipnotes.prompts.packing import pack
        >>> clip = clipnotes.load()
        >>> layout = Layout.build(clip.tokenizer, ["rose", "tulip"], 4, limit=32)
        >>> (chunk,) = pack(layout, False, 1000, torch.device("cpu")).chunks
        >>> run_chunk(clip.model.text_model, chunk, torch.zeros(4, 128)).shape
        torch.Size([2, 128])
    """
    seen = None
    if chunk.constant is not None:  # no gradient passes through it
        seen = _run(tower, chunk.constant, ctx, None, None)[1]
    x, _ = _run(tower, chunk.rest, ctx, seen, chunk.ends)
    return _norm(tower.final_layer_norm, x)


def _run(
    tower: Any,
    stretch: Stretch,
    ctx: Tensor,
    before: list[tuple[Seen, Seen]] | None,
    ends: Tensor | None,
) -> tuple[Tensor, list[tuple[Seen, Seen]]]:
    """Run all layers, to be read at ``ends``, or else for the sake of keys and values only."""
    x, shown = _embed(tower, stretch, ctx), []  # (T, D)
    last = len(tower.encoder.layers) - 1
    for i, layer in enumerate(tower.encoder.layers):
        attention, mlp = layer.self_attn, layer.mlp
        normed = _norm(layer.layer_norm1, x)
        keys = _show(_linear(attention.k_proj, normed), stretch)
        values = _show(_linear(attention.v_proj, normed), stretch)
        if ends is None:
            shown.append((keys, values))
            if i == last:
                break
        slots = stretch.slots
        if ends is not None and i == last:
            slots = slots[ends - stretch.n_common]  # (Q,)
            x, normed = x.index_select(0, ends), normed.index_select(0, ends)  # (Q, D)
        query = _linear(attention.q_proj, normed)
        seen = [(keys, values)] if before is None else [before[i], (keys, values)]
        x = x + _linear(attention.out_proj, _attend(attention, query, slots, seen, stretch.visible))
        wide = _linear(mlp.fc1, _norm(layer.layer_norm2, x))  # (Q, intermediate_size)
        x = x + _linear(mlp.fc2, _activate(mlp.activation_fn, wide))
    return x, shown


def _embed(tower: Any, stretch: Stretch, ctx: Tensor) -> Tensor:
    embeddings = tower.embeddings
    tokens = F.embedding(stretch.ids, embeddings.token_embedding.weight.detach())  # (T, D)
    if len(stretch.ctx_rows):
        vectors = ctx.flatten(0, -2).to(tokens).index_select(0, stretch.ctx_index)
        tokens = tokens.index_copy(0, stretch.ctx_rows, vectors)
    places = embeddings.position_ids[0, stretch.places]
    return tokens + F.embedding(places, embeddings.position_embedding.weight.detach())


def _show(rows: Tensor, stretch: Stretch) -> Seen:
    common, own = rows[: stretch.n_common], rows[stretch.n_common :]
    return Seen(common, _lay(own, stretch.slots, stretch.visible))


def _lay(rows: Tensor, slots: Tensor, visible: Tensor) -> Tensor:
    """Lay rows into blocks: (B, S, D), with zeros where no row belongs."""
    n_blocks, _, n_slots, _ = visible.shape
    empty = rows.new_zeros(n_blocks * n_slots, rows.shape[1])
    return empty.index_copy(0, slots, rows).view(n_blocks, n_slots, rows.shape[1])


def _attend(
    attention: Any, query: Tensor, slots: Tensor, seen: list[tuple[Seen, Seen]], visible: Tensor
) -> Tensor:
    """Mix the values that each query sees: (Q, D). The last ``len(slots)`` ask in blocks."""
    n_common = len(query) - len(slots)  # these ask among themselves
    mixed = []
    if n_common:
        parts = (query[:n_common], *(part.common for part in seen[-1]))
        q, k, v = (_by_head(part.unsqueeze(0), attention) for part in parts)  # (1, H, P, d)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=attention.scale)
        mixed.append(out.transpose(1, 2).flatten(2).squeeze(0))  # (P, D)
    if len(slots):
        q = _by_head(_lay(query[n_common:], slots, visible), attention)  # (B, H, S, d)
        k, v = (
            _by_head(
                torch.cat([kind[0].common.expand(len(visible), -1, -1), *(s.own for s in kind)], 1),
                attention,
            )
            for kind in zip(*seen, strict=True)
        )  # (B, H, all that is seen, d)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=attention.scale)
        mixed.append(out.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, slots))
    return torch.cat(mixed)


def _by_head(x: Tensor, attention: Any) -> Tensor:
    return x.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)  # (B, H, S, d)


def _activate(activation: nn.Module, wide: Tensor) -> Tensor:
    if type(activation) is QuickGELUActivation:
        # x sigmoid(ax) = silu(ax) / a, and of silu only one tensor is kept for the gradient.
        return F.silu(1.702 * wide) * (1 / 1.702)
    return activation(wide)


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
