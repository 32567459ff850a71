"""What can be read off a CLIP that has run: where it looks, and what it would say layer by layer.

All functions take tensors that ``compat.vision_states`` or ``compat.text_states`` returned, and
none needs a gradient, but none forbids one either. In the shape comments: B, pictures; P, patches;
N = P + 1, tokens; D, the tower's width; S, the width of the space that both towers share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clipnotes import compat


def grid_of(model: nn.Module, pixel_values: Tensor) -> tuple[int, int]:
    """Count the patches that a picture is cut into, down and across.

    Their number alone does not tell: 32 x 128 pixels in patches of 8 are 4 x 16 of them, as many as
    in a square of 64 x 64.

    Args:
        model: ``CLIPModel``, ``CLIPVisionModel`` or ``CLIPVisionModelWithProjection``.
        pixel_values: (..., H, W), what the model was or will be given.

    Returns:
        Rows and columns: what the functions below take as ``grid``.

    Raises:
        TypeError: the model has no vision tower.

    Example:
        >>> import clipnotes
        >>> grid_of(clipnotes.load().model, torch.zeros(1, 3, 32, 128))
        (4, 16)
    """
    tower: Any = compat.vision_tower(model)
    height, width = pixel_values.shape[-2:]
    down, across = tower.embeddings.patch_embedding.stride
    return height // down, width // across


def on_grid(values: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """Lay what belongs to the patches, row by row, on the grid that they were cut from.

    Args:
        values: (..., P).
        grid: rows and columns, as :func:`grid_of` counts them. None is for square pictures, as
            ``Clip.preprocess`` makes them; whoever passed others with ``interpolate_pos_encoding``
            has to give it, as from P nobody can tell 4 x 16 from 8 x 8.

    Returns:
        (..., rows, columns), without a copy.

    Raises:
        ValueError: P patches do not fill the grid, or no square, as when the class token is still
            among them.

    Example:
        >>> on_grid(torch.arange(4))
        tensor([[0, 1],
                [2, 3]])
        >>> on_grid(torch.arange(4), grid=(1, 4))
        tensor([[0, 1, 2, 3]])
    """
    many = values.shape[-1]
    rows, columns = (math.isqrt(many),) * 2 if grid is None else grid
    if min(rows, columns) < 1 or rows * columns != many:
        shape = "a square" if grid is None else f"a grid of {rows} x {columns}"
        raise ValueError(
            f"{many} values do not fill {shape} of patches. Take the patches only, without the "
            "class token: values[..., 1:]; of a picture that is not square, say how many rows and "
            "columns there are: grid=looking.grid_of(model, pixel_values)"
        )
    return values.unflatten(-1, (rows, columns))


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Follow attention through the layers (Abnar and Zuidema, https://arxiv.org/abs/2005.00928).

    Each layer's weights are the mean over its heads, and half of them goes to the identity, for the
    residual connection. The product over the layers says which share of the input tokens is in each
    output token, if values, MLPs and norms are left out of account.

    Args:
        attentions: the layers' weights, lowest first, each (B, n_heads, N, N).

    Returns:
        (B, N, N); each row sums to 1. Row 0 belongs to the class token.

    Raises:
        ValueError: no layer, or weights of another shape.
        TypeError: None where weights should be, as models give it whose attention is SDPA.

    Example:
        >>> attentions = [torch.full((1, 2, 3, 3), 1 / 3)] * 2
        >>> rollout(attentions)[0, 0]
        tensor([0.5000, 0.2500, 0.2500])
    """
    if attentions is not None and len(attentions) == 0:
        raise ValueError(
            f"no layer's attention was given; give those of all layers, lowest first. {_NO_WEIGHTS}"
        )
    for weights in [None] if attentions is None else attentions:
        _check_attention(weights)
    product = torch.eye(attentions[0].shape[-1], dtype=attentions[0].dtype)
    product = product.to(attentions[0].device)
    identity = product
    for weights in attentions:
        mean = weights.mean(1)  # (B, n_heads, N, N) -> (B, N, N)
        product = (mean + identity) / 2 @ product  # the earlier stands right
    return product


def by_offset(attention: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """Average a head's attention from patch to patch by how far apart the two stand.

    A head that always looks at the neighbour on the left has a bright cell left of the middle,
    whatever is in the picture.

    Args:
        attention: (B, n_heads, N, N), one layer's weights, the class token first.
        grid: rows and columns of patches, see :func:`on_grid`.

    Returns:
        (n_heads, 2 rows - 1, 2 columns - 1): the mean weight over all pictures and over all pairs
        of patches at that offset. The middle is a patch's attention to itself; the cell above it is
        attention to the patch above.

    Raises:
        ValueError: weights of another shape, or patches that do not fill the grid.
        TypeError: None instead of weights, see :func:`rollout`.

    Example:
        >>> to_the_left = torch.zeros(1, 1, 5, 5)
        >>> to_the_left[0, 0, [2, 4], [1, 3]] = 1.0  # of 2 x 2 patches
        >>> by_offset(to_the_left)[0]
        tensor([[0., 0., 0.],
                [1., 0., 0.],
                [0., 0., 0.]])
    """
    _check_attention(attention)
    mean = on_grid(attention[..., 1:, 1:].mean(0), grid)  # (n_heads, P, rows, columns)
    rows, columns = mean.shape[-2:]
    found = mean.new_zeros(len(mean), 2 * rows - 1, 2 * columns - 1)
    pairs = mean.new_zeros(2 * rows - 1, 2 * columns - 1)
    for i in range(rows * columns):
        # The whole grid as patch i sees it: itself in the middle of a grid nearly twice as wide.
        top, left = rows - 1 - i // columns, columns - 1 - i % columns
        found[:, top : top + rows, left : left + columns] += mean[:, i]
        pairs[top : top + rows, left : left + columns] += 1
    return found / pairs


def shared_vectors(model: nn.Module, vectors: Tensor) -> Tensor:
    """Treat vectors of the vision tower as if they were the class token of its last layer.

    That is: ``post_layernorm``, the projection, unit length. CLIP was trained to do this to the
    class token of the last layer and to nothing else; what it gives elsewhere has to be measured.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``.
        vectors: (..., D): hidden states, of any layer and any tokens.

    Returns:
        (..., S), unit length.

    Raises:
        TypeError: the model has no vision tower or no projection.

    Example:
        >>> import clipnotes
        >>> model = clipnotes.load().model
        >>> shared_vectors(model, torch.randn(2, 65, 128)).shape
        torch.Size([2, 65, 128])
    """
    tower: Any = compat.vision_tower(model)
    project = compat.visual_projection(model)
    return normalize(project(tower.post_layernorm(vectors)), dim=-1)


def logits_by_layer(model: Any, hidden_states: Sequence[Tensor], texts: Tensor) -> Tensor:
    """What the model would say if the tower ended early, at every depth.

    Args:
        model: ``CLIPModel``.
        hidden_states: the vision tower's n_layers + 1 states, each (B, N, D).
        texts: (n_texts, S), unit length, as ``Clip.encode_text`` gives.

    Returns:
        (n_layers + 1, B, n_texts). The last are the model's own ``logits_per_image``.

    Raises:
        TypeError: as :func:`shared_vectors`.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> states = compat.vision_states(clip.model, torch.zeros(1, 3, 64, 64))
        >>> texts = clip.encode_text(["a tulip", "a beetle"])
        >>> logits_by_layer(clip.model, states.hidden_states, texts).shape
        torch.Size([7, 1, 2])
    """
    tokens = torch.stack([h[:, 0] for h in hidden_states])  # (n_layers + 1, B, D)
    vectors = shared_vectors(model, tokens)  # (n_layers + 1, B, S)
    return model.logit_scale.exp() * vectors @ texts.T


def patch_text_maps(
    model: nn.Module,
    hidden_state: Tensor,
    texts: Tensor,
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Compare every patch with every text, by the cosine in the shared space.

    Nothing in CLIP's training made this comparison.

    Args:
        model: ``CLIPModel``.
        hidden_state: (B, N, D), the vision tower's states after one layer.
        texts: (n_texts, S), unit length.
        grid: rows and columns of patches, see :func:`on_grid`.

    Returns:
        (B, n_texts, rows, columns).

    Raises:
        TypeError: as :func:`shared_vectors`.
        ValueError: the patches do not fill the grid.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> states = compat.vision_states(clip.model, torch.zeros(1, 3, 64, 64))
        >>> texts = clip.encode_text(["a tulip", "a beetle"])
        >>> patch_text_maps(clip.model, states.last_hidden_state, texts).shape
        torch.Size([1, 2, 8, 8])
    """
    patches = shared_vectors(model, hidden_state[:, 1:])  # (B, P, S)
    return on_grid((patches @ texts.T).transpose(1, 2), grid)  # (B, n_texts, P) -> on the grid


def features_from(model: nn.Module, pixel_values: Tensor, kept: Tensor) -> Tensor:
    """Encode pictures from some of their patches: the tokens of the others are left out.

    The patches that stay keep their positions, and nothing is put in the place of the others, so
    the tower sees less and nothing foreign.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``.
        pixel_values: (B, 3, H, W).
        kept: (B, K) int64, the patches that stay, counted from 0 row by row; K may be 0.

    Returns:
        (B, S), unit length.

    Raises:
        TypeError: as :func:`shared_vectors`.
        ValueError: `kept` is of another shape or names a patch that is not there.

    Example:
        >>> import clipnotes
        >>> pixel_values, all_of_them = torch.zeros(1, 3, 64, 64), torch.arange(64)[None]
        >>> features_from(clipnotes.load().model, pixel_values, all_of_them[:, :10]).shape
        torch.Size([1, 128])
    """
    tower: Any = compat.vision_tower(model)
    tokens = tower.embeddings(pixel_values)  # (B, N, D)
    B, N, D = tokens.shape
    if kept.ndim != 2 or len(kept) != B:
        raise ValueError(f"kept is {tuple(kept.shape)}; {B} pictures need ({B}, how many stay)")
    if kept.numel() and not 0 <= int(kept.min()) <= int(kept.max()) < N - 1:
        raise ValueError(
            f"kept names patches {int(kept.min())} to {int(kept.max())}; there are 0 to {N - 2}"
        )
    # The class token stays in front.
    kept = kept.to(tokens.device)
    places = torch.cat([kept.new_zeros(B, 1), kept + 1], dim=1)  # (B, K + 1)
    tokens = tokens.gather(1, places[..., None].expand(-1, -1, D))  # (B, K + 1, D)
    last = tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens))[0]
    return shared_vectors(model, last[:, 0])


_NO_WEIGHTS = (
    "A model under SDPA, the default, forms no weights and gives None or nothing even with "
    "output_attentions=True: take compat.vision_states(model, pixel_values).attentions, or load "
    'it with attn_implementation="eager"'
)


def _check_attention(weights: Tensor | None) -> None:
    if not isinstance(weights, Tensor):
        raise TypeError(
            f"attention is a {type(weights).__name__}; (B, n_heads, N, N) weights are needed. "
            + _NO_WEIGHTS
        )
    if weights.ndim != 4 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(
            f"attention of shape {tuple(weights.shape)}; (B, n_heads, N, N) is needed, as "
            "compat.vision_states(...).attentions holds"
        )
