"""CLIP from scratch in plain PyTorch, in the order in which the book reads it."""

from clipnotes.model.encoder import MLP, Attention, Encoder, EncoderLayer, quick_gelu
from clipnotes.model.vision import VisionEmbeddings, VisionOutput, VisionTower

__all__ = [
    "MLP",
    "Attention",
    "Encoder",
    "EncoderLayer",
    "VisionEmbeddings",
    "VisionOutput",
    "VisionTower",
    "quick_gelu",
]
