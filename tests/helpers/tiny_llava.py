"""Small random LLaVAs of transformers, with prompts for them."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from reference import randomise, vision_config

IMAGE, END, VOCABULARY = 3, 2, 23


def tiny_llava(seed: int, **fixed: Any) -> Any:
    """A LLaVA with random weights everywhere; the sizes vary with the seed."""
    draw = random.Random(seed)
    heads = draw.choice([1, 2, 3])
    eyes = vision_config(seed)
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=heads * draw.choice([4, 6]),
        intermediate_size=draw.choice([9, 16]),
        num_hidden_layers=draw.choice([1, 2, 3]),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=64,
        tie_word_embeddings=bool(seed % 2),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=END,
    )
    config = LlavaConfig(
        vision_config=eyes,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=n_patches(eyes),
        **{"vision_feature_layer": -2 if eyes.num_hidden_layers > 1 else -1, **fixed},
    )
    return randomise(LlavaForConditionalGeneration(config), seed)


def n_patches(eyes: Any) -> int:
    return (eyes.image_size // eyes.patch_size) ** 2


def prompts(model: Any, seed: int, batch: int = 3, text: int = 5) -> Tensor:
    """Rows (batch, 2 + N + text): a start, a word, the image, and words."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(4, VOCABULARY, (batch, 1 + text), generator=generator)
    image = torch.full((batch, n_patches(model.config.vision_config)), IMAGE)
    start = torch.ones(batch, 1, dtype=torch.long)
    return torch.cat([start, words[:, :1], image, words[:, 1:]], 1)
