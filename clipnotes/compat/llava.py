"""The parts of a LLaVA, wherever a version of transformers keeps them."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn


class LlavaParts(NamedTuple):
    """The four modules of a ``LlavaForConditionalGeneration``.

    In 4.49, the language model with its head is one module of the model. In 4.57 and later the
    three others stand in ``model.model``, and the head beside it.
    """

    vision_tower: Any
    projector: Any
    language_model: Any  # the layers: embeddings in, hidden states out
    lm_head: nn.Linear


def llava_parts(model: Any) -> LlavaParts:
    """Find the parts of a LLaVA, or raise a TypeError that says what was given."""
    inside: Any = model if hasattr(model, "vision_tower") else getattr(model, "model", None)
    language = getattr(inside, "language_model", None)
    if language is None or not hasattr(inside, "multi_modal_projector"):
        raise TypeError(
            f"a {type(model).__name__} is no LLaVA; give a LlavaForConditionalGeneration"
        )
    if hasattr(language, "lm_head"):
        language, head = language.model, language.lm_head
    else:
        head = model.lm_head
    return LlavaParts(inside.vision_tower, inside.multi_modal_projector, language, head)
