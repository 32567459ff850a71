"""The map of a version: where classes live, what keys are called, what comes back from which call.

The reference page "Versions of transformers" prints these facts. They stand under one name,
``layout``, apart from the facts of single chapters.
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
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, PreTrainedModel

from clipnotes import compat
from facts.words import SMALL, VISION, attempt, kind

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
TOWER_WIDTH, SHARED_WIDTH = SMALL["hidden_size"], VISION["projection_dim"]
IDS = torch.tensor([[1, 5, 7, 19]])
PICTURE = torch.zeros(1, 3, 16, 16)


def configuration(**text: Any) -> CLIPConfig:
    """A small CLIP whose towers are wider than the space that both are projected into."""
    sizes = {**SMALL, "vocab_size": 20, "eos_token_id": 19, "bos_token_id": 1, "pad_token_id": 0}
    return CLIPConfig(
        text_config={**sizes, "max_position_embeddings": 8, "projection_dim": SHARED_WIDTH, **text},
        vision_config=VISION,
        projection_dim=SHARED_WIDTH,
    )


def build(name: str) -> PreTrainedModel:
    """One of the five models, with random weights."""
    config: Any = configuration()
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
    """Give a model class a file whose names begin with this, in front of `embeddings`.

    Returns:
        How many of the tensors it took from there, and one of the names under which it saves them.
    """
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


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name (`**kwargs` does not count)."""
    return name in inspect.signature(function).parameters


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


def width(value: Any) -> str:
    """Which of the two spaces a pooled vector lies in, told by its width."""
    spaces = {TOWER_WIDTH: "the tower's own", SHARED_WIDTH: "projected"}
    if isinstance(value, Tensor):
        return f"Tensor, {spaces[value.shape[-1]]}"
    return f"{type(value).__name__}, pooler_output is {spaces[value.pooler_output.shape[-1]]}"


def pooled_position(eos_token_id: int) -> int:
    """Where the text tower pools `[1, 5, 18, 19]`, given what the configuration calls EOS."""
    tower: Any = compat.text_tower(CLIPModel(configuration(eos_token_id=eos_token_id)).eval())
    output = tower(input_ids=torch.tensor([[1, 5, 18, 19]]))
    same = (output.last_hidden_state == output.pooler_output[:, None]).all(-1)  # (1, 4)
    return int(same[0].nonzero().item())


def facts() -> dict[str, object]:
    """All of the map, from small models with random weights."""
    torch.manual_seed(0)
    source = inspect.getmodule(CLIPModel)
    models: dict[str, Any] = {name: build(name) for name in MODELS}
    both, text_model = models["CLIPModel"], models["CLIPTextModel"]
    text: Any = compat.text_tower(text_model)
    vision: Any = compat.vision_tower(both)
    layer = vision.encoder.layers[0]

    def forward() -> Any:
        return both(input_ids=IDS, pixel_values=PICTURE)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        states: Any = text_model(IDS, output_hidden_states=True, output_attentions=True)
        last, before = states.last_hidden_state, states.hidden_states[-1]
        normed = text.final_layer_norm(before)
        output = forward()
        called = {
            "tower": watch(vision, forward),
            "encoder": watch(vision.encoder, forward),
            "encoder layer": watch(layer, forward),
            "attention": watch(layer.self_attn, forward),
            "MLP": watch(layer.mlp, forward),
        }
        files = {
            f"{name} from {front}embeddings": read_and_save(name, front)
            for name, front in (
                ("CLIPTextModel", "text_model."),
                ("CLIPTextModel", ""),
                ("CLIPVisionModel", "vision_model."),
                ("CLIPVisionModel", ""),
            )
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
            "get_text_features": width(both.get_text_features(IDS)),
            "get_image_features": width(both.get_image_features(PICTURE)),
            "text_model_output": width(output.text_model_output),
            "vision_model_output": width(output.vision_model_output),
            "last_text_state": "last_hidden_state"
            if torch.equal(before, last)
            else "last_hidden_state before final_layer_norm"
            if torch.equal(normed, last)
            else "something else",
            "eos_token_id": CLIPTextConfig().eos_token_id,
            "pooled_position": {
                "eos_token_id=18": pooled_position(18),
                "eos_token_id=2": pooled_position(2),
            },
            "takes_inputs_embeds": {
                "CLIPTextModel": takes(type(text_model).forward, "inputs_embeds"),
                "the text tower": takes(type(text).forward, "inputs_embeds"),
                "CLIPTextEmbeddings": takes(type(text.embeddings).forward, "inputs_embeds"),
            },
            "text_model_given_inputs_embeds": attempt(lambda: text_model(inputs_embeds=last)),
            "text_model_given_nothing": attempt(text_model),
            "another_image_size": attempt(lambda: vision(torch.zeros(1, 3, 24, 24))),
        }
    return {"layout": found}
