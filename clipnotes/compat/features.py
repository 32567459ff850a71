"""Encode with a two-tower model of any family that is carried: features, logits, width."""

from typing import Any

from torch import Tensor, nn

from clipnotes.compat.families import family_of


def image_features(model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> Tensor:
    """Encode images into the shared space: pooled, projected, not normalised.

    We call the tower and then the projection, so no output object has to be unwrapped. Pooled and
    projected vectors may have the same width (512 in the text tower of ViT-B/32), and then nobody
    would notice that the wrong one was taken from such an object.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``; ``SiglipModel`` and the other
            families in ``compat.FAMILIES``.
        pixel_values: (B, 3, height, width), floating point.
        **kwargs: Passed to the tower, for instance ``interpolate_pos_encoding=True``.

    Returns:
        (B, P), the same numbers as ``get_image_features`` gives, as a plain tensor.

    Raises:
        TypeError: The model has no vision tower or no projection, or is of an unknown family.

    Example:
        >>> import torch
        >>> from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
        >>> config = CLIPVisionConfig(hidden_size=8, num_attention_heads=2, projection_dim=6)
        >>> model = CLIPVisionModelWithProjection(config)
        >>> image_features(model, torch.randn(5, 3, 224, 224)).shape
        torch.Size([5, 6])
    """
    return family_of(model).image_features(model, pixel_values, **kwargs)


def text_features(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    ends: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Encode texts into the shared space: pooled, projected, not normalised.

    CLIP's tower itself finds the end of a text by its configuration. Old configurations, OpenAI's
    among them, say ``eos_token_id=2``, and then every version of transformers takes the largest
    id for the end. That works until a token is added, because its id is larger than that of the
    end token. If you know where the texts end, pass ``ends``, as ``Clip.encode_text`` does.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``; ``SiglipModel`` and the other
            families in ``compat.FAMILIES``.
        input_ids: (B, L), integers. For SigLIP filled up to all positions, as it was trained.
        attention_mask: (B, L), 1 for tokens and 0 for padding; ``None`` means all tokens.
        ends: (B,), integers: where each text ends; ``None`` leaves it to the tower. Only CLIP and
            its relatives look at it.
        **kwargs: Passed to the tower, for instance ``position_ids``.

    Returns:
        (B, P), a plain tensor, with the same numbers as ``get_text_features`` gives unless
        ``ends`` says something else than the tower would find.

    Raises:
        TypeError: The model has no text tower or no projection, or is of an unknown family.
        ValueError: Texts of SigLIP that are not filled up.

    Example:
        >>> import torch
        >>> from transformers import CLIPTextConfig, CLIPTextModelWithProjection
        >>> config = CLIPTextConfig(hidden_size=8, num_attention_heads=2, projection_dim=6)
        >>> model = CLIPTextModelWithProjection(config)
        >>> text_features(model, torch.tensor([[0, 5, 7, 19]])).shape
        torch.Size([1, 6])
    """
    return family_of(model).text_features(model, input_ids, attention_mask, ends=ends, **kwargs)


def shared_width(model: nn.Module) -> int:
    """Say how many numbers a feature has: P, the width of the space that both towers share.

    Args:
        model: As for ``text_features``.

    Example:
        >>> import clipnotes
        >>> shared_width(clipnotes.load().model)
        128
    """
    return family_of(model).width(model)


def logits(model: nn.Module, cosines: Tensor) -> Tensor:
    """Turn cosines of images and texts into logits: a model's scale, and its bias if it has one.

    Args:
        model: A two-tower model, with both towers.
        cosines: Of any shape, floating point.

    Returns:
        The logits, differentiable in ``cosines``; the model itself gets no gradient.

    Example:
        >>> import clipnotes, torch
        >>> logits(clipnotes.load().model, torch.ones(1)).round()  # the scale
        tensor([16.])
    """
    return family_of(model).logits(model, cosines)
