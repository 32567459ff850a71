"""Write down what the installed version of transformers does, for the chapters to show.

    python book/record.py        # in an environment with that version; writes
    clipnotes/recorded/VERSION.json

A fact about a version in the book is one that this program saw there.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from clipnotes import compat

OUT = Path(__file__).parent.parent / "clipnotes" / "recorded"
CLASSES = (
    "CLIPVisionModel",
    "CLIPVisionTransformer",
    "CLIPVisionEmbeddings",
    "CLIPEncoder",
    "CLIPEncoderLayer",
    "CLIPAttention",
    "CLIPSdpaAttention",
    "CLIPMLP",
    "CLIPTextModel",
    "CLIPTextTransformer",
    "CLIPTextEmbeddings",
)
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION: dict[str, Any] = {**SMALL, "image_size": 16, "patch_size": 8, "projection_dim": 8}


def kind(value: object) -> str:
    """What a returned thing is, in words: 'Tensor', 'tuple of 3', 'None', or the class's name."""
    if isinstance(value, tuple) and type(value) is tuple:
        inside = ", ".join(sorted({kind(v) for v in value}))
        return f"tuple of {len(value)}" + (f": {inside}" if inside else "")
    return "None" if value is None else type(value).__name__


def facts() -> dict[str, object]:
    """Everything the chapters say about this version, from small models with random weights."""
    torch.manual_seed(0)
    model = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
    both = CLIPModel(CLIPConfig(text_config=SMALL, vision_config=VISION, projection_dim=8)).eval()
    picture = torch.randn(1, 3, 16, 16)
    source = __import__("transformers.models.clip.modeling_clip", fromlist=["CLIPModel"])
    seen: list[str] = []
    tower: Any = compat.vision_tower(model)
    layer = tower.encoder.layers[0]
    hook = layer.register_forward_hook(lambda module, args, output: seen.append(kind(output)))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        as_object = model(picture, output_attentions=True, output_hidden_states=True)
        as_tuple = model(picture, return_dict=False)
        features = both.get_image_features(picture)
    hook.remove()
    try:
        model()
        without_picture = "no error"
    except Exception as error:
        without_picture = f"{type(error).__name__}: {error}"
    return {
        "transformers": transformers.__version__,
        "tree": str(model),
        "vision_children": [name for name, _ in model.named_children()],
        "vision_model_of_clip": type(both.vision_model).__name__,
        "text_model_of_clip": type(both.text_model).__name__,
        "tower_of_vision_model": type(compat.vision_tower(model)).__name__,
        "first_key": next(iter(model.state_dict())),
        "classes": {name: hasattr(source, name) for name in CLASSES},
        "layer_returns": seen[0],
        "returns": kind(as_object),
        "return_dict_false": kind(as_tuple),
        "without_pixel_values": without_picture,
        "attentions_under_sdpa": kind(as_object.attentions),
        "hidden_states": kind(as_object.hidden_states),
        "get_image_features": kind(features),
    }


def main() -> None:
    """Write the facts to their file."""
    found = facts()
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{found['transformers']}.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    print(f"wrote {path.relative_to(OUT.parent.parent)}")


if __name__ == "__main__":
    main()
