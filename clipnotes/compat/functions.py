"""Functions of transformers that have another name, or another place, in each version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def mask_functions() -> list[Callable[..., Any]]:
    """Find the functions that make the text tower's causal mask, from the one that it calls on.

    Up to 4.57 the mask has a helper of its own; since 5.5 CLIP takes the one that all language
    models share.

    Returns:
        Functions of transformers, in the order in which one calls the next. The last one draws the
        triangle.

    Example:
        >>> "causal" in mask_functions()[0].__name__  # the rest of the name depends on the version
        True
    """
    clip = _clip()
    if hasattr(clip, "create_causal_mask"):
        from transformers import masking_utils

        return [clip.create_causal_mask, masking_utils.sdpa_mask]
    from transformers.modeling_attn_mask_utils import AttentionMaskConverter as Converter

    made = Converter.to_causal_4d, Converter._make_causal_mask
    return [clip._create_4d_causal_attention_mask, *made]


def loss_function() -> Callable[..., Any]:
    """Find the function that computes CLIP's loss from the logits.

    It was called ``clip_loss`` up to 5.5.

    Returns:
        A function of transformers: (B, B) logits, texts by images -> a number.

    Example:
        >>> import torch
        >>> f"{loss_function()(torch.zeros(4, 4)):.2f}"  # log 4: nothing is known
        '1.39'
    """
    clip = _clip()
    found: Any = getattr(clip, "clip_loss", None) or clip.image_text_contrastive_loss
    return found


def written(title: str) -> Any:
    """Find a function by the title that annotated source gives it; ``None`` if there is none.

    Args:
        title: ``CLIPMLP.forward``, say, or ``clip_loss``. What is looked for is in the file of
            transformers' CLIP, or makes its mask.
    """
    class_name, _, method = title.rpartition(".")
    for function in mask_functions():
        if title == function.__qualname__:
            return function
    owner = getattr(_clip(), class_name, None) if class_name else _clip()
    found = getattr(owner, method, None)
    return found if callable(found) and not isinstance(found, type) else None


def _clip() -> Any:
    from transformers.models.clip import modeling_clip

    return modeling_clip
