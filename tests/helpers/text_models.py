"""Text towers of all classes that carry one."""

import torch
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from clipnotes.compat import text_tower
from reference import randomise
from reference_text import random_clip, text_config

SIZES = {"vocab_size": 20, "max_position_embeddings": 9, "eos_token_id": 19}
IDS = torch.tensor([[1, 5, 7, 9, 4, 19, 19], [1, 8, 6, 3, 19, 19, 19]])


def make(kind, seed=0, **fixed):
    sizes = {**SIZES, "hidden_size": 12, "num_attention_heads": 3, **fixed}
    if kind == "CLIPModel":
        return random_clip(seed, **sizes)
    config = text_config(seed, **sizes)
    if kind == "tower":
        return text_tower(randomise(CLIPTextModel(config), seed))
    classes = {"text": CLIPTextModel, "projection": CLIPTextModelWithProjection}
    return randomise(classes[kind](config), seed)


def run(model, ids=IDS, **kwargs):
    """Everything that the tower gives, as one (B, L + 1, D)."""
    states, pooled = text_tower(model)(input_ids=ids, **kwargs)[:2]
    return torch.cat([states, pooled[:, None]], dim=1)


def table(model):
    return text_tower(model).embeddings.token_embedding.weight


def mixed_flags(model):
    """Freeze every third parameter, so that restoring `True` everywhere would be seen."""
    for i, weight in enumerate(model.parameters()):
        weight.requires_grad_(i % 3 > 0)
    return {name: weight.requires_grad for name, weight in model.named_parameters()}


KINDS = ["CLIPModel", "text", "projection", "tower"]


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_untouched(model, before, flags):
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {name: w.requires_grad for name, w in model.named_parameters()} == flags
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def train(model, parameters, forward):
    """A few steps with weight decay over *everything*, as somebody may well write it."""
    optimizer = torch.optim.AdamW([*parameters, *model.parameters()], lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        forward()[:, :, :3].square().sum().backward()
        optimizer.step()
