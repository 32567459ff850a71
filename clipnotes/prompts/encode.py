"""Prompts with learnable context -> class features, through the model's own text tower."""

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import text_projection, text_tower
from clipnotes.model import unit_length
from clipnotes.prompts.embeddings import inject
from clipnotes.prompts.layout import Layout


def encode(model: nn.Module, layout: Layout, ctx: Tensor) -> Tensor:
    """Encode the prompts of all classes.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``. Its parameters get no gradient.
        layout: The prompts.
        ctx: (n_ctx, D) for all classes, or (n_classes, n_ctx, D).

    Returns:
        (n_classes, P), unit length, differentiable in ``ctx``. The tower computes in the model's
        dtype; the features come in that of ``ctx`` if it is the wider one, so that half precision
        does not decide how long a unit is.

    Raises:
        TypeError: No text tower, or one without projection.
        ValueError: The context does not fit the layout or the tower, or the model would compute
            layers again after this function is left, with weights that want a gradient.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> layout = Layout.build(clip.tokenizer, ["rose", "tulip"], 4, limit=32)
        >>> encode(clip.model, layout, torch.zeros(4, 128)).shape
        torch.Size([2, 128])
    """
    tower: Any = text_tower(model)
    project = text_projection(model)
    _check_checkpointing(tower)
    device = tower.embeddings.token_embedding.weight.device
    with inject(model, ctx, layout.ctx_positions):
        # Not the pooled output: by the rule for old configs it would stand at the largest id, and
        # the layout knows where each prompt ends.
        states = tower(input_ids=layout.input_ids.to(device))[0]  # (n_classes, N, D)
        rows = torch.arange(len(states), device=device)
        features = project(states[rows, layout.eos.to(device)])  # (n_classes, P)
    return unit_length(features.to(torch.promote_types(features.dtype, ctx.dtype)))


def _check_checkpointing(tower: nn.Module) -> None:
    if not torch.is_grad_enabled():
        return
    again = any(getattr(m, "gradient_checkpointing", False) and m.training for m in tower.modules())
    if again and any(weight.requires_grad for weight in tower.parameters()):
        raise ValueError(
            "the text tower is in training mode with gradient checkpointing, so backward would "
            "compute its layers again and give their weights gradients: freeze the model "
            "(model.requires_grad_(False)), or set model.eval()"
        )
