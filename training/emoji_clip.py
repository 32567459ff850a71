"""The shape of Emoji-CLIP, how the training program runs its two towers, and CLIP's loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from clipnotes.compat import text_tower, vision_tower
from train_tokenizer import MAX_LENGTH, VOCAB_SIZE

NAME = "Emoji-CLIP"
PADDING: dict[str, int] = {}  # to the longest of a batch: what follows the end never matters
PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 64},
    "do_center_crop": True,
    "crop_size": {"height": 64, "width": 64},
}
SMOOTHING = 0.1  # of the targets, over the batch


def new_model() -> CLIPModel:
    """Make a model of Emoji-CLIP's shape with new weights: 2.4 million parameters."""
    width = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4}
    text = {
        **width,
        "num_hidden_layers": 3,
        "projection_dim": 128,
        "vocab_size": VOCAB_SIZE,
        "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": VOCAB_SIZE - 2,
        "eos_token_id": VOCAB_SIZE - 1,
        "pad_token_id": VOCAB_SIZE - 1,
    }
    vision = {
        **width,
        "num_hidden_layers": 6,
        "projection_dim": 128,
        "image_size": 64,
        "patch_size": 8,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def prepare(model: CLIPModel) -> None:
    """Compute quick_gelu with the fused SiLU: x * sigmoid(1.702 x) = silu(1.702 x) / 1.702."""
    for module in model.modules():
        if hasattr(module, "activation_fn"):
            module.activation_fn = Silu1702()


class Silu1702(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.silu(1.702 * x) / 1.702


def encode_pictures(model: CLIPModel, pixel_values: Tensor, kept: int | None = None) -> Tensor:
    """Encode drawings to unit length, from only `kept` random patches of each if given."""
    tower = vision_tower(model)
    hidden = tower.embeddings(pixel_values)  # (B, 1 + patches, d)
    if kept is not None:
        patches = hidden.shape[1] - 1
        chosen = torch.rand(len(hidden), patches, device=hidden.device).argsort(1)[:, :kept] + 1
        chosen = chosen[..., None].expand(-1, -1, hidden.shape[2])
        hidden = torch.cat([hidden[:, :1], hidden.gather(1, chosen)], 1)  # (B, 1 + kept, d)
    hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(hidden))[0]
    return F.normalize(model.visual_projection(tower.post_layernorm(hidden[:, 0])), dim=-1)


def encode_captions(model: CLIPModel, input_ids: Tensor) -> Tensor:
    return F.normalize(model.text_projection(text_tower(model)(input_ids=input_ids)[1]), dim=-1)


def loss_of(model: CLIPModel, cosines: Tensor, match: Tensor) -> Tensor:
    """Compute cross-entropy both ways; targets cover true pairs, and all a little."""
    logits = cosines * model.logit_scale.exp()  # (B, B)
    total = logits.new_zeros(())
    for rows, true in ((logits, match), (logits.T, match.T)):
        target = true / true.sum(1, keepdim=True)
        target = (1 - SMOOTHING) * target + SMOOTHING / target.shape[1]
        total = total - (target * rows.log_softmax(1)).sum(1).mean() / 2
    return total
