"""CLIP from scratch in plain PyTorch, in the order in which the book reads it."""

from clipnotes.model.clip import CLIP, CLIPOutput, contrastive_loss, unit_length
from clipnotes.model.divergence import Divergence, first_divergence
from clipnotes.model.encoder import MLP, Attention, Encoder, EncoderLayer, quick_gelu
from clipnotes.model.llava import Llava, Projector, splice
from clipnotes.model.masks import causal_mask
from clipnotes.model.real_clips import REAL_CLIPS, real_config
from clipnotes.model.ring import sigmoid_loss_chunked
from clipnotes.model.siglip import AttentionPooling, CrossAttention, sigmoid_loss
from clipnotes.model.text import TextEmbeddings, TextOutput, TextTower, eos_positions
from clipnotes.model.vision import VisionEmbeddings, VisionOutput, VisionTower

__all__ = [
    "CLIP",
    "MLP",
    "REAL_CLIPS",
    "Attention",
    "AttentionPooling",
    "CLIPOutput",
    "CrossAttention",
    "Divergence",
    "Encoder",
    "EncoderLayer",
    "Llava",
    "Projector",
    "TextEmbeddings",
    "TextOutput",
    "TextTower",
    "VisionEmbeddings",
    "VisionOutput",
    "VisionTower",
    "causal_mask",
    "contrastive_loss",
    "eos_positions",
    "first_divergence",
    "quick_gelu",
    "real_config",
    "sigmoid_loss",
    "sigmoid_loss_chunked",
    "splice",
    "unit_length",
]
