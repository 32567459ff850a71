"""Read off a CLIP that has run where it looks, and what it would say after each layer.

Most functions take tensors that ``compat.vision_states`` or ``compat.text_states`` returned. They
need no gradient, but let one through. In shapes, B counts images, N patches and L = N + 1 tokens
(L = N in SigLIP, which has no class token); D is a tower's width, P that of the shared space.
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
    """Count the rows and columns of patches that an image is cut into.

    The number of patches alone does not tell: in patches of 8, an image of 32 x 128 pixels has
    4 x 16 of them, as many as a square of 64 x 64.

    Args:
        model: ``CLIPModel``, ``CLIPVisionModel``, ``SiglipModel``, or another that is carried.
        pixel_values: (..., S, S), the model's input.

    Returns:
        Rows and columns, which the functions below take as ``grid``.

    Raises:
        TypeError: There is no vision tower.

    Example:
        >>> import clipnotes
        >>> grid_of(clipnotes.load().model, torch.zeros(1, 3, 32, 128))
        (4, 16)
    """
    tower: Any = compat.family_of(model).vision_tower(model)
    height, width = pixel_values.shape[-2:]
    down, across = next(part.stride for part in tower.modules() if isinstance(part, nn.Conv2d))
    return height // down, width // across


def on_grid(values: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """Arrange values of the patches on the grid that the patches were cut from.

    Args:
        values: (..., N), one value per patch, row by row.
        grid: Rows and columns, as :func:`grid_of` counts them. ``None`` means a square, which is
            what ``Clip.preprocess`` makes. For other images, as ``interpolate_pos_encoding`` allows
            them, give the grid: N alone cannot tell 4 x 16 from 8 x 8.

    Returns:
        (..., rows, columns), a view of the values.

    Raises:
        ValueError: The values do not fill the grid or a square, for instance because the class
            token is still among them.

    Example:
        >>> on_grid(torch.arange(4))
        tensor([[0, 1],
                [2, 3]])
        >>> on_grid(torch.arange(4), grid=(1, 4))
        tensor([[0, 1, 2, 3]])
    """
    n_patches = values.shape[-1]
    rows, columns = (math.isqrt(n_patches),) * 2 if grid is None else grid
    if min(rows, columns) < 1 or rows * columns != n_patches:
        shape = "a square" if grid is None else f"a grid of {rows} x {columns}"
        raise ValueError(
            f"{n_patches} values do not fill {shape} of patches. Take the patches only, without "
            "the class token: values[..., 1:]; of an image that is not square, say how many rows "
            "and columns there are: grid=looking.grid_of(model, pixel_values)"
        )
    return values.unflatten(-1, (rows, columns))


def rollout(attentions: Sequence[Tensor]) -> Tensor:
    """Follow attention through the layers (Abnar and Zuidema, https://arxiv.org/abs/2005.00928).

    Each layer's weights are averaged over its heads, and then with the identity, which stands for
    the residual connection. The product over the layers says how much of each input token is in
    each output token, if one ignores values, MLPs and norms.

    Args:
        attentions: The layers' weights, lowest layer first, each (B, H, L, L).

    Returns:
        (B, L, L), where each row sums to 1. Row 0 belongs to the class token.

    Raises:
        ValueError: There is no layer, or weights have a different shape.
        TypeError: There is ``None`` instead of weights, which a model returns under SDPA.

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
        mean = weights.mean(1)  # (B, H, L, L) -> (B, L, L)
        product = (mean + identity) / 2 @ product  # earlier layers are further right
    return product


def by_offset(
    attention: Tensor, grid: tuple[int, int] | None = None, class_tokens: int = 1
) -> Tensor:
    """Average each head's attention between patches by the offset from one to the other.

    A head that always looks at the neighbour on the left gets a bright cell left of the middle,
    whatever the image shows.

    Args:
        attention: (B, H, L, L), one layer's weights, the class token first.
        grid: Rows and columns of patches, see :func:`on_grid`.
        class_tokens: How many tokens stand in front of the patches: 0 for SigLIP.

    Returns:
        (H, 2 rows - 1, 2 columns - 1): the mean weight over all images and over all pairs of
        patches with that offset. The middle is a patch's attention to itself; the cell above it is
        attention to the patch above.

    Raises:
        ValueError: The weights have a different shape, or the patches do not fill the grid.
        TypeError: There is ``None`` instead of weights, see :func:`rollout`.

    Example:
        >>> to_the_left = torch.zeros(1, 1, 5, 5)
        >>> to_the_left[0, 0, [2, 4], [1, 3]] = 1.0  # of 2 x 2 patches
        >>> by_offset(to_the_left)[0]
        tensor([[0., 0., 0.],
                [1., 0., 0.],
                [0., 0., 0.]])
    """
    _check_attention(attention)
    attention = attention[..., class_tokens:, class_tokens:]
    mean = on_grid(attention.mean(0), grid)  # (H, N, rows, columns)
    rows, columns = mean.shape[-2:]
    sums = mean.new_zeros(len(mean), 2 * rows - 1, 2 * columns - 1)
    pairs = mean.new_zeros(2 * rows - 1, 2 * columns - 1)
    for i in range(rows * columns):
        # Place the grid as patch i sees it: patch i in the middle of a grid almost twice as wide.
        top, left = rows - 1 - i // columns, columns - 1 - i % columns
        sums[:, top : top + rows, left : left + columns] += mean[:, i]
        pairs[top : top + rows, left : left + columns] += 1
    return sums / pairs


def shared_vectors(model: nn.Module, vectors: Tensor) -> Tensor:
    """Read vectors of the vision tower out as if each were all that its last layer made.

    In CLIP a vector takes the place of the class token: it goes through ``post_layernorm`` and the
    projection; in a ViT through its norm, its pooler and the projection. In SigLIP it is the only
    patch that the pooling head sees. Then it is scaled to unit length. These models were trained to
    do this with the last layer's class token or patches only, so whether the result means anything
    for other vectors has to be measured.

    Args:
        model: Of a family in ``compat.FAMILIES``.
        vectors: (..., D), hidden states of any layer and any tokens.

    Returns:
        (..., P), unit length.

    Raises:
        TypeError: The model has no vision tower or no projection, or another tower.

    Example:
        >>> import clipnotes
        >>> model = clipnotes.load().model
        >>> shared_vectors(model, torch.randn(2, 65, 128)).shape
        torch.Size([2, 65, 128])
    """
    alone = vectors.reshape(-1, 1, vectors.shape[-1])  # (n, 1, D)
    read = normalize(compat.family_of(model).read_out(model, alone), dim=-1)  # (n, P)
    return read.unflatten(0, vectors.shape[:-1])


def logits_by_layer(model: Any, hidden_states: Sequence[Tensor], texts: Tensor) -> Tensor:
    """Compute the logits as if the vision tower ended early, at every depth.

    Args:
        model: As for :func:`shared_vectors`.
        hidden_states: The vision tower's n_layers + 1 states, each (B, L, D).
        texts: (n_texts, P), unit length, as ``Clip.encode_text`` returns them.

    Returns:
        (n_layers + 1, B, n_texts). The last depth has the model's own ``logits_per_image``.

    Raises:
        TypeError: As in :func:`shared_vectors`.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> states = compat.vision_states(clip.model, torch.zeros(1, 3, 64, 64))
        >>> texts = clip.encode_text(["a tulip", "a beetle"])
        >>> logits_by_layer(clip.model, states.hidden_states, texts).shape
        torch.Size([7, 1, 2])
    """
    family = compat.family_of(model)
    read = [family.read_out(model, states) for states in hidden_states]  # n_layers + 1 of (B, P)
    return family.logits(model, normalize(torch.stack(read), dim=-1) @ texts.T)


def patch_text_maps(
    model: nn.Module,
    hidden_state: Tensor,
    texts: Tensor,
    grid: tuple[int, int] | None = None,
) -> Tensor:
    """Compare every patch with every text, by the cosine in the shared space.

    CLIP was never trained to make patches comparable with texts.

    Args:
        model: As for :func:`shared_vectors`.
        hidden_state: (B, L, D), the vision tower's states after one layer.
        texts: (n_texts, P), unit length.
        grid: Rows and columns of patches, see :func:`on_grid`.

    Returns:
        (B, n_texts, rows, columns), cosines.

    Raises:
        TypeError: The model has no vision tower or no projection.
        ValueError: The patches do not fill the grid.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> states = compat.vision_states(clip.model, torch.zeros(1, 3, 64, 64))
        >>> texts = clip.encode_text(["a tulip", "a beetle"])
        >>> patch_text_maps(clip.model, states.last_hidden_state, texts).shape
        torch.Size([1, 2, 8, 8])
    """
    front = compat.family_of(model).class_tokens(model)
    patches = shared_vectors(model, hidden_state[:, front:])  # (B, N, P)
    return on_grid((patches @ texts.T).transpose(1, 2), grid)  # (B, n_texts, N) -> on the grid


def features_from(model: nn.Module, pixel_values: Tensor, kept: Tensor) -> Tensor:
    """Encode images from some of their patches, without the tokens of the other patches.

    The patches that stay keep their positions. Nothing takes the place of the others, so the tower
    sees less of the image, but nothing that was never in one.

    Args:
        model: As for :func:`shared_vectors`.
        pixel_values: (B, 3, S, S).
        kept: (B, n_kept) int64, the patches that stay, counted from 0 row by row. Even
            none may stay, except for SigLIP, which has no class token.

    Returns:
        (B, P), unit length.

    Raises:
        TypeError: The model has no vision tower or no projection.
        ValueError: ``kept`` has a different shape, names no patch of the image, or keeps nothing.

    Example:
        >>> import clipnotes
        >>> pixel_values, all_of_them = torch.zeros(1, 3, 64, 64), torch.arange(64)[None]
        >>> features_from(clipnotes.load().model, pixel_values, all_of_them[:, :10]).shape
        torch.Size([1, 128])
    """
    family = compat.family_of(model)
    front = family.class_tokens(model)
    tokens = family.vision_embeddings(model)(pixel_values)  # (B, L, D)
    B, L, D = tokens.shape
    if kept.ndim != 2 or len(kept) != B:
        raise ValueError(f"kept is {tuple(kept.shape)}; {B} images need ({B}, how many stay)")
    N = L - front
    if kept.numel() and not 0 <= int(kept.min()) <= int(kept.max()) < N:
        raise ValueError(
            f"kept names patches {int(kept.min())} to {int(kept.max())}; there are 0 to {N - 1}"
        )
    if not kept.shape[1] + front:
        raise ValueError(f"kept is empty, and {family.name} has no class token: keep a patch")
    kept = kept.to(tokens.device)
    in_front = torch.arange(front).to(kept).expand(B, -1)  # a class token stays where it is
    positions = torch.cat([in_front, kept + front], dim=1)  # (B, front + n_kept)
    tokens = tokens.gather(1, positions[..., None].expand(-1, -1, D))  # (B, front + n_kept, D)
    last = family.through_layers(model, tokens)
    return normalize(family.read_out(model, last), dim=-1)


_NO_WEIGHTS = (
    "A model under SDPA, the default, forms no weights and gives None or nothing even with "
    "output_attentions=True: take compat.vision_states(model, pixel_values).attentions, or load "
    'it with attn_implementation="eager"'
)


def _check_attention(weights: Tensor | None) -> None:
    if not isinstance(weights, Tensor):
        raise TypeError(
            f"attention is a {type(weights).__name__}; (B, H, L, L) weights are needed. "
            + _NO_WEIGHTS
        )
    if weights.ndim != 4 or weights.shape[-1] != weights.shape[-2]:
        raise ValueError(
            f"attention of shape {tuple(weights.shape)}; (B, H, L, L) is needed, as "
            "compat.vision_states(...).attentions holds"
        )
