"""Tiny random text towers and whole CLIPs of transformers, and the comparisons of both."""

import random
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from clipnotes.compat import eager_attention, image_features, text_features, text_states, text_tower
from clipnotes.model import CLIP, TextTower, contrastive_loss, unit_length
from reference import assert_close, assert_same_gradients, randomise, vision_config

BOTH_PATHS = (({}, nullcontext), ({"output_attentions": True}, eager_attention))

# A small tower for tests that need no reference.
SMALL = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 9,
    "eos_token_id": 19,
}


def text_config(seed: int, **fixed: Any) -> CLIPTextConfig:
    """Draw a small config; odd seeds take the old rule for the end of a text, even ones the new."""
    draw = random.Random(seed)
    heads = draw.choice([1, 2, 3, 4])
    head_dim = draw.choice([8, 10] if heads == 1 else [4, 5, 8])
    vocab_size = draw.choice([11, 20, 37])
    chosen = {
        "vocab_size": vocab_size,
        "hidden_size": heads * head_dim,
        "num_attention_heads": heads,
        "num_hidden_layers": draw.choice([1, 2, 3]),
        "intermediate_size": draw.choice([7, 16, 33]),
        "max_position_embeddings": draw.choice([6, 9, 12]),
        "hidden_act": draw.choice(["quick_gelu", "gelu"]),
        "layer_norm_eps": draw.choice([1e-6, 1e-5, 1e-3, 1e-1]),
        "projection_dim": draw.choice([4, 6]),
        "bos_token_id": 1,
        "pad_token_id": 0,
        # It is not the last id: a token that was added must not be taken for the end.
        "eos_token_id": 2 if seed % 2 else vocab_size - 3,
    }
    return CLIPTextConfig(**{**chosen, **fixed})


def tiny_text(seed: int, **fixed: Any) -> CLIPTextModel:
    return randomise(CLIPTextModel(text_config(seed, **fixed)), seed)


def random_clip(seed: int, **text: Any) -> CLIPModel:
    """Build a small ``CLIPModel`` whose two towers have nothing in common."""
    config = CLIPConfig(
        text_config=text_config(seed, **text).to_dict(),
        vision_config=vision_config(seed + 1000).to_dict(),
        projection_dim=random.Random(seed).choice([4, 7, 12]),
    )
    return randomise(CLIPModel(config), seed)


def texts(config: Any, seed: int, *, batch: int = 3, kind: str | None = None) -> dict[str, Tensor]:
    """Draw texts of random length, whose mask is of a `kind` (drawn if None)."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    length = draw.randint(3, config.max_position_embeddings)
    kind = kind or draw.choice(["none", "right", "left", "holes"])
    end = config.vocab_size - 1 if config.eos_token_id == 2 else config.eos_token_id
    # Ids go up to the largest, so that the two rules for the end of a text disagree.
    ids = torch.randint(3, config.vocab_size, (batch, length), generator=generator)
    ids[ids == end] = 3
    ids[:, 0] = config.bos_token_id
    used = torch.randint(2, length + 1, (batch,), generator=generator)
    behind = torch.arange(length) >= used[:, None]
    # In front of a text it cannot be the end token: the first of those is taken for the end.
    ids[behind] = 0 if kind == "left" else draw.choice([end, 0])
    ids[torch.arange(batch), used - 1] = end
    mask = ~behind
    if kind == "left":
        turned = (torch.arange(length) + used[:, None]) % length
        ids, mask = ids.gather(1, turned), mask.gather(1, turned)
    if kind == "holes":
        mask = torch.rand(batch, length, generator=generator) < 0.6
        mask[:, 0] = True
    inputs = {"input_ids": ids}
    if kind != "none":
        inputs["attention_mask"] = mask.long()
    shape = {0: None, 1: (1, length), 2: (batch, length)}[draw.randint(0, 2)]
    if shape:
        limit = config.max_position_embeddings
        inputs["position_ids"] = torch.randint(limit, shape, generator=generator)
    return inputs


def sees_something(inputs: dict[str, Tensor]) -> Tensor:
    """Tell which tokens have any token to look at: for the others versions make up numbers."""
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    return mask.cumsum(dim=1) > 0


def assert_same_text_stages(ours: TextTower, theirs: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Compare a text tower with the reference, stage by stage, then gradient by gradient."""
    tower: Any = text_tower(theirs)
    ids, positions = inputs["input_ids"], inputs.get("position_ids")
    sees = sees_something(inputs)
    with torch.no_grad():
        a, b = ours.embeddings.token_embedding(ids), tower.embeddings.token_embedding(ids)
        assert_close("token embedding", a, b)
        a = ours.embeddings(input_ids=ids, position_ids=positions)
        b = tower.embeddings(input_ids=ids, position_ids=positions)
        assert_close("positions", a, b)

        b = text_states(theirs, **inputs)
        full = ours(**inputs, output_hidden_states=True, output_attentions=True)
        plain = ours(**inputs)
        assert_close("enters the encoder", full.hidden_states[0], b.hidden_states[0])
        assert len(full.hidden_states) == len(b.hidden_states), "number of hidden states"
        assert len(full.attentions) == len(b.attentions), "number of attention weights"
        for n, weights in enumerate(b.attentions):
            stage = f"attention weights {n}"
            assert full.attentions[n].shape == weights.shape, stage
            rows = full.attentions[n].transpose(1, 2)[sees], weights.transpose(1, 2)[sees]
            assert_close(stage, *rows)
            a, c = full.hidden_states[n + 1], b.hidden_states[n + 1]
            assert a.shape == c.shape, f"layer {n}"
            assert_close(f"layer {n}", a[sees], c[sees])
        for a in (full, plain):
            assert_close("final norm", a.last_hidden_state[sees], b.last_hidden_state[sees])
        for a in (full, plain):
            assert_close("pooled", a.pooler_output, b.pooler_output)

    for path, context in BOTH_PATHS:
        with context(tower):
            b = _text_gradients(tower, inputs)
        assert_same_gradients(_text_gradients(ours, inputs, **path), b)


def _text_gradients(tower: nn.Module, inputs: dict[str, Tensor], **kwargs: bool) -> dict:
    output = tower(**inputs, **kwargs)
    generator = torch.Generator().manual_seed(0)
    last, pooled = output.last_hidden_state, output.pooler_output
    weights = torch.randn(last.shape, generator=generator) * sees_something(inputs)[..., None]
    loss = (last * weights).sum()
    loss = loss + (pooled * torch.randn(pooled.shape, generator=generator)).sum()
    return _of_parameters(loss, tower)


def assert_same_clip(
    ours: CLIP, theirs: CLIPModel, texts: dict[str, Tensor], pixel_values: Tensor
) -> None:
    """Compare all that comes after the towers; texts and images are pairs."""
    inputs = {**texts, "pixel_values": pixel_values, "return_loss": True}
    scale = theirs.logit_scale.exp().item()  # what rounding in the cosines is multiplied by
    with torch.no_grad():
        a, b = ours(**inputs), theirs(**inputs)
        pooled = a.text_model_output.pooler_output, a.vision_model_output.pooler_output
        c = text_features(theirs, **texts)
        assert_close("projected texts", ours.text_projection(pooled[0]), c)
        assert_close("unit_length", unit_length(c), b.text_embeds)
        c = image_features(theirs, pixel_values)
        assert_close("projected images", ours.visual_projection(pooled[1]), c)
        assert_close("unit length of texts", a.text_embeds, b.text_embeds)
        assert_close("unit length of images", a.image_embeds, b.image_embeds)
        for side in ("logits_per_text", "logits_per_image"):
            assert_close(side, getattr(a, side), getattr(b, side), scale=scale)
        assert_close("contrastive_loss", contrastive_loss(b.logits_per_text), b.loss)
        assert_close("loss", a.loss, b.loss, scale=scale)

    for path, context in BOTH_PATHS:
        with context(theirs):
            b = _of_parameters(theirs(**inputs).loss, theirs)
        a = _of_parameters(ours(**inputs, **path).loss, ours)
        # The loss is divided by lengths and multiplied by the scale on the way back.
        largest = max(1.0, *(gradient.abs().max().item() for gradient in b.values()))
        assert a.keys() == b.keys(), f"parameters: {sorted(a.keys() ^ b.keys())}"
        for name in b:
            assert_close(f"gradient of {name}", a[name], b[name], scale=largest)


def _of_parameters(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    wanted = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
    return dict(zip(wanted, gradients, strict=True))
