"""What cannot be learned as low-rank adapters is refused when a learner is made."""

import copy

import pytest
import torch

import clipnotes
from clipnotes.compat import checkpoint_layers
from clipnotes.prompts import LoRA
from reference import pixels
from reference_visual import deep_clip

THINGS = ["tulip", "steam locomotive", "a rose, red"]


def test_what_cannot_be(clip):
    for options, words in (
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0}, "alpha is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0; give a number from 0 to below 1"),
        ({"template": "a photo"}, "it needs one"),
    ):
        with pytest.raises(ValueError, match=words):
            LoRA(clip, THINGS, **options)
    for options in ({"rank": 2.0}, {"alpha": True}, {"dropout": "a"}, {"template": 3}):
        with pytest.raises(TypeError, match=f"{next(iter(options))} is a?"):
            LoRA(clip, THINGS, **options)


def test_models_that_cannot_carry_it(clip):
    def without(model):
        layer = model.vision_model.encoder.layers[1].self_attn
        layer.qkv = layer._modules.pop("q_proj")

    def other(model):
        model.text_model.encoder.layers[2].self_attn.v_proj = torch.nn.Identity()

    def narrow(model):
        model.text_model.encoder.layers[0].self_attn.k_proj = torch.nn.Linear(128, 64)

    for change, words in (
        (without, "layer 1 of the vision tower has 0 modules called q_proj or query"),
        (other, r"v_proj in layer 2 of the text tower is a torch.*Identity.*merge_and_unload"),
        (narrow, r"the text tower have the shapes \[\(64, 128\), \(128, 128\)\]"),
    ):
        model = copy.deepcopy(clip.model)
        change(model)
        broken = clipnotes.Clip(model, clip.tokenizer, clip.image_processor)
        with pytest.raises((ValueError, AttributeError), match=words):
            LoRA(broken, THINGS)
    tiny = deep_clip(clip, 7)
    checkpoint_layers(tiny.model)
    lora = LoRA(tiny, THINGS)
    tiny.model.train()
    with pytest.raises(ValueError, match="without the adapters"):
        lora.logits(pixels(tiny.model.config.vision_config, seed=2, batch=2))
