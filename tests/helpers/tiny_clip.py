"""Small CLIPs with a tokenizer of a token a letter, for the explorers."""

import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig

from clipnotes import Clip, compat
from reference import randomise, vision_config

HALF = 0.5 / 255 + 1e-6  # what rounding to 8 bits may change
PROMPT = "an emoji of a red umbrella"
TEXTS = ["an emoji of a tiger", "a tulip", "</script><script>document.title='taken'</script>"]


class Letters:
    """A tokenizer with a token a letter, for models with a vocabulary of 20."""

    eos_token_id, eos_token = 3, "t3"

    def __call__(self, texts, **kwargs):
        rows = [[2, *(4 + ord(letter) % 16 for letter in text), 3] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [3] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    def convert_ids_to_tokens(self, ids):
        return [f"t{i}" for i in ids]


def tiny(seed, **vision):
    """A small CLIP with random weights whose towers differ, also in their number of heads."""
    vision = vision_config(seed, **{"num_channels": 3, **vision})
    text = CLIPTextConfig(
        hidden_size=12,
        num_attention_heads=[1, 2, 3][seed % 3],
        num_hidden_layers=[3, 1, 2][seed % 3],
        intermediate_size=16,
        vocab_size=20,
        eos_token_id=3,
        bos_token_id=2,
        max_position_embeddings=9,
    )
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=6
    )
    size = vision.image_size
    processor = compat.image_processor_class()(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    return Clip(randomise(CLIPModel(config), seed), Letters(), processor)
