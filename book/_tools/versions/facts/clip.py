"""The whole CLIP in this version: which vector each way of asking for features returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from _tools.versions.facts.words import SMALL, VISION, kind
from clipnotes import compat


def which(returned: object, pooled: Tensor, projected: Tensor) -> str:
    """Whether a vector is the tower's own or the projected one; of an object, its pooler_output."""
    inside = "" if isinstance(returned, Tensor) else "in pooler_output, "
    vector: Any = getattr(returned, "pooler_output", returned)
    held = {"the pooled vector": pooled, "the projected vector": projected}
    [name] = [name for name, one in held.items() if torch.equal(vector, one)]
    return f"{kind(returned)}: {inside}{name}"


def facts() -> dict[str, object]:
    """What chapter 6 says about this version, from a small model with random weights."""
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=SMALL, vision_config=VISION, projection_dim=8)).eval()
    ids, picture = torch.tensor([[49406, 320, 49407]]), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        text = compat.text_tower(model)(input_ids=ids)[1]
        vision = compat.vision_tower(model)(pixel_values=picture)[1]
        texts = text, model.text_projection(text)
        images = vision, model.visual_projection(vision)
        output = model(ids, picture)
        of_texts, of_images = model.get_text_features(ids), model.get_image_features(picture)
    return {
        "vector_get_text_features": which(of_texts, *texts),
        "vector_get_image_features": which(of_images, *images),
        "vector_text_model_output": which(output.text_model_output, *texts),
        "vector_vision_model_output": which(output.vision_model_output, *images),
    }
