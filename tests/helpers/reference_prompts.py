"""CoOp's prompts, written from the paper and independent of the package: the plain, slow way.

Every prompt is a text with a word for each context token, tokenized as a whole and padded to the
model's limit. Its token embeddings are cut into prefix, name and suffix, and put together again
with the context between them. Positions, mask, pooling and projection are written out.
"""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import clipnotes
from clipnotes.compat import text_tower
from reference import assert_close
from reference_text import random_clip


def prompt_clip(clip: clipnotes.Clip, seed: int, **text: Any) -> clipnotes.Clip:
    """Build a small random CLIP that reads Emoji-CLIP's tokens; odd seeds have the old end rule."""
    fixed = {
        "vocab_size": 4000,
        "max_position_embeddings": random.Random(seed).choice([28, 30, 33]),
        "bos_token_id": 3998,
        "eos_token_id": 2 if seed % 2 else 3999,
    }
    model = random_clip(seed, **{**fixed, **text})
    return clipnotes.Clip(model, clip.tokenizer, clip.image_processor)


def class_features(
    clip: clipnotes.Clip, names: list[str], ctx: Tensor, position: str, template: str
) -> Tensor:
    """Encode each class by itself: (n_classes, P), unit length."""
    n_ctx = ctx.shape[-2]
    contexts = ctx if ctx.dim() == 3 else [ctx] * len(names)
    pairs = zip(names, contexts, strict=True)
    return torch.cat([_one(clip, name, own, n_ctx, position, template) for name, own in pairs])


def class_logits(clip: clipnotes.Clip, features: Tensor, image_features: Tensor) -> Tensor:
    return clip.model.logit_scale.exp() * image_features @ features.T


def _one(
    clip: clipnotes.Clip, name: str, ctx: Tensor, n_ctx: int, position: str, template: str
) -> Tensor:
    tower: Any = text_tower(clip.model)
    limit = tower.embeddings.position_embedding.weight.shape[0]
    text = " ".join(["X"] * n_ctx) + " " + template.format(name)
    padded = clip.tokenizer(
        [text], padding="max_length", max_length=limit, return_tensors="pt", verbose=False
    )["input_ids"]  # (1, limit)
    assert padded.shape == (1, limit)
    vectors = tower.embeddings.token_embedding(padded)[0]  # (limit, D)
    upto_name = template[: template.index("{")] + name
    n_name = len(clip.tokenizer(upto_name)["input_ids"]) - 2
    start, named, suffix = vectors[:1], vectors[1 + n_ctx :][:n_name], vectors[1 + n_ctx + n_name :]
    half = n_ctx // 2
    parts = {
        "end": [start, ctx, named, suffix],
        "middle": [start, ctx[:half], named, ctx[half:], suffix],
        "front": [start, named, ctx, suffix],
    }[position]
    x = torch.cat(parts) + tower.embeddings.position_embedding.weight  # (limit, D)
    hidden = torch.full((limit, limit), torch.finfo(x.dtype).min).triu(1)[None, None]
    x = tower.encoder(inputs_embeds=x[None], attention_mask=hidden)[0]
    x = tower.final_layer_norm(x)[0]  # (limit, D)
    pooled = x[padded[0].argmax()]  # the end token has the largest id
    projected = clip.model.text_projection(pooled)
    return (projected / projected.norm())[None]  # (1, P)


NAMES = ["tulip", "steam locomotive", "x", "a rose, red"]
POSITIONS = ["end", "middle", "front"]
MANY = ["dog", "dog sled", "tulip", "x", "a rose, red", "steam locomotive", "x x x x x", "dogs"]


def images(clip, n=5, seed=0):
    width = clip.model.config.projection_dim
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=-1)


def assert_equals_the_reference(clip, learner):
    pictures = images(clip)
    labels = torch.arange(len(pictures)) % len(learner.classnames)
    ctx = learner.ctx.detach().clone().requires_grad_(True)
    features = class_features(clip, learner.classnames, ctx, learner.position, learner.template)
    expected = class_logits(clip, features, pictures)
    logits = learner.logits(pictures)
    assert_close("features", learner(), features)
    assert_close("logits", logits, expected)
    (wanted,) = torch.autograd.grad(F.cross_entropy(expected, labels), ctx)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), learner.ctx)
    assert wanted.abs().max() > 1e-6
    assert_close("gradient", gradient, wanted)
