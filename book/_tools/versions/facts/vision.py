"""The vision tower in this version: names of classes and keys, what is passed and returned."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel

from _tools.versions.facts.words import SMALL, VISION, attempt, kind
from clipnotes import compat

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


def in_training() -> tuple[CLIPModel, Any]:
    """A small CLIP that is to learn, and its vision tower."""
    model = CLIPModel(CLIPConfig(text_config=SMALL, vision_config=VISION, projection_dim=8)).train()
    return model, compat.vision_tower(model)


def learning_above_frozen_embeddings(**chosen: bool) -> bool:
    """Whether the layers get gradients under checkpointing while the embeddings are frozen."""
    model, tower = in_training()
    tower.embeddings.requires_grad_(False)
    tower.pre_layrnorm.requires_grad_(False)
    compat.checkpoint_layers(model, **chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tower(torch.randn(1, 3, 16, 16))[1].sum().backward()
    return tower.encoder.layers[0].mlp.fc1.weight.grad is not None


def runs_heard() -> dict[str, int]:
    """How often hooks on and in a checkpointed layer hear it run, the way back included."""
    model, tower = in_training()
    compat.checkpoint_layers(model, use_reentrant=False)
    layer = tower.encoder.layers[0]
    heard = dict.fromkeys(("on a layer", "inside a layer"), 0)
    for name, module in zip(heard, (layer, layer.layer_norm1), strict=True):

        def count(*_: object, name: str = name) -> None:
            heard[name] += 1

        module.register_forward_pre_hook(count)
    tower(torch.randn(1, 3, 16, 16))[1].sum().backward()
    return heard


def facts() -> dict[str, object]:
    """What chapters 1 to 5 say about this version, from small models with random weights."""
    torch.manual_seed(0)
    model = CLIPVisionModel(CLIPVisionConfig(**VISION)).eval()
    both = CLIPModel(CLIPConfig(text_config=SMALL, vision_config=VISION, projection_dim=8)).eval()
    picture = torch.randn(1, 3, 16, 16)
    source = __import__("transformers.models.clip.modeling_clip", fromlist=["CLIPModel"])
    tower: Any = compat.vision_tower(model)
    inner: Any = compat.vision_tower(both)
    calls: list[tuple[tuple, dict, object]] = []
    hook = tower.encoder.layers[0].register_forward_hook(
        lambda module, args, named, output: calls.append((args, named, output)), with_kwargs=True
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        as_object = model(picture, output_attentions=True, output_hidden_states=True)
        as_tuple = model(picture, return_dict=False)
        tokens = inner.pre_layrnorm(inner.embeddings(picture))
        alone = inner.encoder(inputs_embeds=tokens, output_hidden_states=True)
        features = both.get_image_features(picture)
        first_and_last = model(picture, output_hidden_states=[0, -1]).hidden_states
        encoder_tuple = attempt(lambda: inner.encoder(inputs_embeds=tokens, return_dict=False))
        inner_tuple = attempt(lambda: inner(picture, return_dict=False))
        without_picture = attempt(model)
    hook.remove()
    args, named, output = calls[0]
    return {
        "tree": str(model),
        "vision_children": [name for name, _ in model.named_children()],
        "vision_model_of_clip": type(both.vision_model).__name__,
        "text_model_of_clip": type(both.text_model).__name__,
        "tower_of_vision_model": type(compat.vision_tower(model)).__name__,
        "first_key": next(iter(model.state_dict())),
        "classes": {name: hasattr(source, name) for name in CLASSES},
        "layer_gets": [kind(value) for value in args],
        "layer_gets_by_name": sorted(named),
        "layer_returns": kind(output),
        "returns": kind(as_object),
        "return_dict_false": kind(as_tuple),
        "return_dict_false_of_clips_tower": inner_tuple,
        "return_dict_false_of_encoder": encoder_tuple,
        "hidden_states_of_encoder_alone": kind(alone.hidden_states),
        "without_pixel_values": without_picture,
        "attentions_under_sdpa": kind(as_object.attentions),
        "hidden_states": kind(as_object.hidden_states),
        "hidden_states_asked_for_by_places": kind(first_and_last),
        "get_image_features": kind(features),
        "checkpointed_layers_learn_above_frozen_embeddings": {
            "use_reentrant=True": learning_above_frozen_embeddings(use_reentrant=True),
            "use_reentrant=False": learning_above_frozen_embeddings(use_reentrant=False),
            "nothing said": learning_above_frozen_embeddings(),
        },
        "checkpointed_runs_heard": runs_heard(),
        "checkpointing_methods": {
            name: hasattr(model, name)
            for name in ("gradient_checkpointing_enable", "activation_checkpointing_enable")
        },
    }
