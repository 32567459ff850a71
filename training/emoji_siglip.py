"""The shape of Emoji-SigLIP, how the training program runs its two towers, and SigLIP's loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

from train_tokenizer import MAX_LENGTH, VOCAB_SIZE

NAME = "Emoji-SigLIP"
PADDING = {"length": MAX_LENGTH}  # read out at the last position, so always filled up
# SigLIP's own way: an image that is not square is squeezed, not cut.
PROCESSOR = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 64, "width": 64}}


def new_model() -> SiglipModel:
    """Make a model of Emoji-SigLIP's shape with new weights: 2.5 million parameters."""
    width = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    text = {
        **width,
        "num_hidden_layers": 3,
        "projection_size": 128,
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": VOCAB_SIZE - 2,
        "eos_token_id": VOCAB_SIZE - 1,
        "pad_token_id": VOCAB_SIZE - 1,
    }
    vision = {**width, "num_hidden_layers": 6, "image_size": 64, "patch_size": 8}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    with torch.no_grad():  # the paper's: at first nearly every pair is taken for a wrong one
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-10.0)
    return model


def prepare(model: SiglipModel) -> None:
    """Leave the model as it is: its activation is fused already."""


def encode_pictures(model: SiglipModel, pixel_values: Tensor, kept: int | None = None) -> Tensor:
    """Encode images to unit length, from only `kept` random patches of each if given."""
    tower = model.vision_model
    tower = getattr(tower, "vision_model", tower)  # up to 5.5 it is inside
    hidden = tower.embeddings(pixel_values)  # (B, patches, d)
    if kept is not None:
        chosen = torch.rand(hidden.shape[:2], device=hidden.device).argsort(1)[:, :kept]
        chosen = chosen[..., None].expand(-1, -1, hidden.shape[2])
        hidden = hidden.gather(1, chosen)  # (B, kept, d)
    hidden = tower.post_layernorm(tower.encoder(inputs_embeds=hidden)[0])
    return F.normalize(tower.head(hidden), dim=-1)


def encode_captions(model: SiglipModel, input_ids: Tensor) -> Tensor:
    return F.normalize(model.text_model(input_ids=input_ids)[1], dim=-1)


def loss_of(model: SiglipModel, cosines: Tensor, match: Tensor) -> Tensor:
    """Ask of each pair by itself whether it belongs together (Zhai et al. 2023, SigLIP)."""
    logits = cosines * model.logit_scale.exp() + model.logit_bias  # (B, B)
    return -F.logsigmoid((2 * match - 1) * logits).sum(1).mean()
