"""The map of a version: where classes live, what keys are called, what comes back from which call.

The facts are those of the page "Versions of transformers", under one name, ``layout``.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, PreTrainedModel

from _tools.versions.facts.words import SMALL, VISION, attempt, kind
from clipnotes import compat

MODELS = (
    "CLIPModel",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
)
IMPORTABLE = (
    *MODELS,
    "CLIPConfig",
    "CLIPTextConfig",
    "CLIPVisionConfig",
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "CLIPProcessor",
)
# Which class answers to these depends on what else is installed, and asking for an old name is a
# deprecation warning in newer versions: so only the list of names is looked at.
NAMES = (
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
    "TFCLIPModel",
    "FlaxCLIPModel",
)
INSIDE = (
    "CLIPTextTransformer",
    "CLIPVisionTransformer",
    "CLIPTextEmbeddings",
    "CLIPVisionEmbeddings",
    "CLIPEncoder",
    "CLIPEncoderLayer",
    "CLIPAttention",
    "CLIPSdpaAttention",
    "CLIPFlashAttention2",
    "CLIP_ATTENTION_CLASSES",
    "CLIPMLP",
    "CLIPOutput",
)
SHARED_WIDTH = VISION["projection_dim"]
IDS = torch.tensor([[1, 5, 7, 19]])
PICTURE = torch.zeros(1, 3, 16, 16)


def build(name: str) -> PreTrainedModel:
    """One of the five models, with random weights and towers wider than the shared space."""
    sizes = {**SMALL, "vocab_size": 20, "eos_token_id": 19, "bos_token_id": 1, "pad_token_id": 0}
    config: Any = CLIPConfig(
        text_config={**sizes, "max_position_embeddings": 8, "projection_dim": SHARED_WIDTH},
        vision_config=VISION,
        projection_dim=SHARED_WIDTH,
    )
    config = config if name == "CLIPModel" else config.text_config if "Text" in name else config
    config = config.vision_config if "Vision" in name else config
    return getattr(transformers, name)(config).eval()


def home(name: str) -> str:
    """The module in which a class of transformers is written, without the common beginning."""
    found = getattr(transformers, name, None)
    return "absent" if found is None else found.__module__.removeprefix("transformers.models.")


def keys_on_disk(model: PreTrainedModel) -> list[str]:
    """The names of the tensors in the file that `save_pretrained` writes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        with safe_open(Path(folder, "model.safetensors"), framework="pt") as file:
            return list(file.keys())


def read_and_save(name: str, front: str) -> tuple[str, str]:
    """Load weights named with `front`; return how many are taken, and a name as it is saved."""
    model = build(name)
    find = compat.text_tower if "Text" in name else compat.vision_tower
    tower = find(model)
    for parameter in tower.parameters():  # also those that begin as zeros or ones
        nn.init.normal_(parameter)
    weights = {f"{front}{key}": value for key, value in tower.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        save_file(weights, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        again = getattr(transformers, name).from_pretrained(folder)
    found = find(again).state_dict()
    same = sum(torch.equal(found[key], value) for key, value in tower.state_dict().items())
    return f"{same} of {len(weights)} tensors", landmarks(keys_on_disk(again))[0]


def landmarks(keys: list[str]) -> list[str]:
    """The full names of one tensor for each tower: enough to see what stands in front."""
    return sorted(k for k in keys if k.endswith(("token_embedding.weight", "class_embedding")))


def mask_function() -> str:
    """Which function makes the text tower's mask, and what it can be given."""
    source: Any = inspect.getmodule(CLIPModel)
    names = ("_create_4d_causal_attention_mask", "create_causal_mask")
    (name,) = (name for name in names if hasattr(source, name))
    return f"{name}({', '.join(inspect.signature(getattr(source, name)).parameters)})"


def watch(module: nn.Module, run: Callable[[], object]) -> tuple[str, str]:
    """How a module is called, and what it returns, while something runs."""
    seen: list[tuple[tuple, dict, object]] = []
    hook = module.register_forward_hook(
        lambda _, args, named, output: seen.append((args, named, output)), with_kwargs=True
    )
    run()
    hook.remove()
    args, named, output = seen[0]
    return f"{len(args)} by position, {len(named)} by name", kind(output)


def facts() -> dict[str, object]:
    """All of the map, from small models with random weights."""
    torch.manual_seed(0)
    source = inspect.getmodule(CLIPModel)
    models: dict[str, Any] = {name: build(name) for name in MODELS}
    both, text_model = models["CLIPModel"], models["CLIPTextModel"]
    vision: Any = compat.vision_tower(both)
    layer = vision.encoder.layers[0]
    own = CLIPTextConfig()

    def forward() -> Any:
        return both(input_ids=IDS, pixel_values=PICTURE)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        states: Any = text_model(IDS, output_attentions=True)
        called = {
            "tower": watch(vision, forward),
            "encoder": watch(vision.encoder, forward),
            "encoder layer": watch(layer, forward),
            "attention": watch(layer.self_attn, forward),
            "MLP": watch(layer.mlp, forward),
        }
        files = {
            f"{name} from {front}embeddings": read_and_save(name, front)
            for end in ("", "WithProjection")
            for tower in ("Text", "Vision")
            for name in [f"CLIP{tower}Model{end}"]
            for front in (f"{tower.lower()}_model.", "")
        }
        found = {
            "home": {name: home(name) for name in IMPORTABLE},
            "names": {name: name in dir(transformers) for name in NAMES},
            "inside": {name: hasattr(source, name) for name in INSIDE},
            "parts": {
                f"{name}.{part}": type(child).__name__
                for name, model in models.items()
                for part, child in model.named_children()
            },
            "keys_in_memory": {n: landmarks(list(m.state_dict())) for n, m in models.items()},
            "keys_on_disk": {n: landmarks(keys_on_disk(m)) for n, m in models.items()},
            "read_from_file": {name: loaded for name, (loaded, _) in files.items()},
            "saved_again": {name: key for name, (_, key) in files.items()},
            "gets": {name: gets for name, (gets, _) in called.items()},
            "returns": {name: returns for name, (_, returns) in called.items()},
            "default_attention": type(layer.self_attn).__name__
            + " under "
            + both.config._attn_implementation,
            "set_attn_implementation": hasattr(CLIPModel, "set_attn_implementation"),
            "text_attentions_under_sdpa": kind(states.attentions),
            "mask_function": mask_function(),
            "sub_config_is_the_one_given": attempt(
                lambda: CLIPConfig(text_config=own).text_config is own, str
            ),
            "base_model_prefix": {n: type(m).base_model_prefix for n, m in models.items()},
            "eos_token_id": CLIPTextConfig().eos_token_id,
            "text_model_given_nothing": attempt(text_model),
            "another_image_size": attempt(lambda: vision(torch.zeros(1, 3, 24, 24))),
        }
    return {"layout": found}
