"""A layer of the encoder taken apart, so that its two halves can be called on different tokens.

In attention a token does two things. It *offers* its key and its value to the others, and it
*asks* with its query. A layer that is called whole lets every token do both. Taken apart, a token
may offer without asking, and it may ask tokens whose keys and values were computed long before.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Offered = tuple[Tensor, Tensor]  # keys and values, (B, L, D) each


def offer(layer: Any, x: Tensor) -> Offered:
    """Compute the keys and values of some tokens.

    Args:
        layer: An ``EncoderLayer``.
        x: (B, L, D), the states that enter the layer.

    Returns:
        Two of (B, L, D).
    """
    normed = layer.layer_norm1(x)
    return layer.self_attn.k_proj(normed), layer.self_attn.v_proj(normed)


def ask(layer: Any, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Let tokens look at keys and values, and finish the layer for them.

    Args:
        layer: An ``EncoderLayer``.
        x: (B, n_asking, D), the states that enter the layer.
        keys: (B, n_offered, D).
        values: (B, n_offered, D).
        mask: (n_asking, n_offered), ``True`` where a token may look; ``None`` for everywhere.

    Returns:
        (B, n_asking, D), the states that leave the layer.

    Example:
        >>> from clipnotes.model import EncoderLayer
        >>> layer = EncoderLayer(hidden_size=8, num_attention_heads=2, intermediate_size=32)
        >>> x = torch.randn(1, 5, 8)
        >>> torch.allclose(ask(layer, x, *offer(layer, x)), layer(x)[0], atol=1e-6)
        True
    """
    attention = layer.self_attn
    query = attention.q_proj(layer.layer_norm1(x))
    q, k, v = (attention._split_heads(part) for part in (query, keys, values))  # (B, H, _, d)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attention.scale)
    x = x + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return x + layer.mlp(layer.layer_norm2(x))


def run(
    layers: Iterable[Any],
    x: Tensor,
    past: Sequence[Offered] | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, list[Offered]]:
    """Run all layers on some tokens, which may also look at what others have offered before.

    Args:
        layers: The layers of an ``Encoder``.
        x: (B, L, D).
        past: What an earlier run has kept, (1, n_past, D) or (B, n_past, D) for each layer.
        mask: (L, n_past + L), ``True`` where a token may look.

    Returns:
        The states after the last layer, (B, L, D), and the keys and values of ``x`` in each layer.

    Example:
        >>> from clipnotes.model import Encoder
        >>> encoder = Encoder(num_hidden_layers=2, hidden_size=8, num_attention_heads=2,
        ...                   intermediate_size=32)
        >>> x, causal = torch.randn(1, 5, 8), torch.ones(5, 5, dtype=torch.bool).tril()
        >>> whole, _ = run(encoder.layers, x, mask=causal)
        >>> _, past = run(encoder.layers, x[:, :3], mask=causal[:3, :3])
        >>> tail, _ = run(encoder.layers, x[:, 3:], past, causal[3:])
        >>> torch.allclose(tail, whole[:, 3:], atol=1e-6)
        True
    """
    kept = []
    for i, layer in enumerate(layers):
        keys, values = offer(layer, x)
        kept.append((keys, values))
        if past is not None:
            before = [part.expand(len(x), -1, -1) for part in past[i]]
            keys, values = torch.cat([before[0], keys], 1), torch.cat([before[1], values], 1)
        x = ask(layer, x, keys, values, mask)
    return x, kept
