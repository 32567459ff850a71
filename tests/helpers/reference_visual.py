"""VPT and MaPLe, written from the papers and independent of the package: the plain, slow way.

The layers are written out. As in the program of MaPLe's authors, visual prompts stand behind the
patches, not behind the class token: without positions, attention cannot tell. Texts are encoded one
by one, as long as the model allows.
"""

import random
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

import clipnotes
from clipnotes.compat import text_tower, vision_tower
from reference import randomise, vision_config
from reference_text import text_config


def deep_clip(clip: clipnotes.Clip, seed: int, layers: int = 3, **vision: Any) -> clipnotes.Clip:
    """Build a small random CLIP that reads Emoji-CLIP's tokens; odd seeds have the old end rule."""
    text = {
        "num_hidden_layers": layers,
        "vocab_size": 4000,
        "max_position_embeddings": random.Random(seed).choice([16, 18, 21]),
        "bos_token_id": 3998,
        "eos_token_id": 2 if seed % 2 else 3999,
    }
    config = CLIPConfig(
        text_config=text_config(seed, **text).to_dict(),
        vision_config=vision_config(seed + 500, num_hidden_layers=layers, **vision).to_dict(),
        projection_dim=random.Random(seed).choice([4, 7, 12]),
    )
    model = randomise(CLIPModel(config), seed)
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


def encode_images(clip: clipnotes.Clip, pixel_values: Tensor, prompts: list[Tensor]) -> Tensor:
    """Encode images with a list of (n_ctx, D) prompts, one a layer: (n, P), unit length."""
    tower: Any = vision_tower(clip.model)
    patches = tower.embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
    start = tower.embeddings.class_embedding.expand(len(patches), 1, -1)
    x = torch.cat([start, patches], dim=1) + tower.embeddings.position_embedding.weight
    n_tokens = x.shape[1]
    x = torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1)
    x = tower.pre_layrnorm(x)
    for i, layer in enumerate(tower.encoder.layers):
        if 0 < i < len(prompts):
            x = torch.cat([x[:, :n_tokens], prompts[i].expand(len(x), -1, -1)], dim=1)
        x = _layer(layer, x)
    x = clip.model.visual_projection(tower.post_layernorm(x[:, 0]))
    return x / x.norm(dim=-1, keepdim=True)


def encode_class(
    clip: clipnotes.Clip, name: str, prompts: list[Tensor], template: str = "of a {}."
) -> Tensor:
    """Encode one class, with a list of (n_ctx, D) prompts behind the start, one a layer: (1, P)."""
    tower: Any = text_tower(clip.model)
    limit, n_ctx = tower.embeddings.position_embedding.weight.shape[0], len(prompts[0])
    text = " ".join(["X"] * n_ctx) + " " + template.replace("{}", name)
    ids = clip.tokenizer(
        [text], padding="max_length", max_length=limit, return_tensors="pt", verbose=False
    )["input_ids"]  # (1, limit)
    x = tower.embeddings.token_embedding(ids)
    x = torch.cat([x[:, :1], prompts[0][None], x[:, 1 + n_ctx :]], dim=1)
    x = x + tower.embeddings.position_embedding.weight
    for i, layer in enumerate(tower.encoder.layers):
        if 0 < i < len(prompts):
            x = torch.cat([x[:, :1], prompts[i][None], x[:, 1 + n_ctx :]], dim=1)
        x = _layer(layer, x, causal=True)
    x = tower.final_layer_norm(x)[:, ids[0].argmax()]  # the end token has the largest id
    x = clip.model.text_projection(x)
    return x / x.norm(dim=-1, keepdim=True)


def _layer(layer: Any, x: Tensor, causal: bool = False) -> Tensor:
    attention, normed = layer.self_attn, layer.layer_norm1(x)
    q, k, v = (
        project(normed).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )  # (B, n_heads, N, head_dim)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if causal:
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(ahead, -torch.inf)
    mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)  # (B, L, D)
    x = x + attention.out_proj(mixed)
    return x + layer.mlp(layer.layer_norm2(x))


def logits(clip: clipnotes.Clip, images: Tensor, classes: Tensor) -> Tensor:
    return clip.model.logit_scale.exp() * images @ classes.T
