"""Small random models to try answers on, so that no answer can know the numbers beforehand."""

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel


def small_clip(*, width: int = 16, layers: int = 3, seed: int = 0) -> CLIPModel:
    """Build a small ``CLIPModel`` with random weights, in evaluation mode.

    Images are 12 pixels wide and patches 4. The vocabulary has 40 tokens, of which 38 is EOS. A
    text has at most 16 tokens, and the shared space is 12 wide.
    """
    shared = {
        "hidden_size": width,
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
        "intermediate_size": 3 * width,
    }
    text = {"vocab_size": 40, "max_position_embeddings": 16, "bos_token_id": 37, "eos_token_id": 38}
    config = CLIPConfig(
        text_config=shared | text | {"pad_token_id": 38},
        vision_config=shared | {"image_size": 12, "patch_size": 4},
        projection_dim=12,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIPModel(config).eval()
        for name, weight in model.named_parameters():
            # A bias left at 0 or a norm left at 1 would hide that somebody forgot it.
            middle = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            spread = weight[0].numel() ** -0.5 if weight.dim() > 1 else 0.3
            if name != "logit_scale":
                torch.nn.init.normal_(weight, middle, spread)
    return model


def small_pictures(n: int = 2, *, seed: int = 1) -> Tensor:
    """Draw random pixel values for a small CLIP: (n, 3, 12, 12)."""
    return torch.randn(n, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def small_texts(*lengths: int, seed: int = 1) -> Tensor:
    """Draw random ids for a small CLIP, one row per length: SOS, words, EOS, padded with EOS."""
    ids = torch.full((len(lengths), max(lengths)), 38)
    ids[:, 0] = 37
    generator = torch.Generator().manual_seed(seed)
    for row, length in zip(ids, lengths, strict=True):
        row[1 : length - 1] = torch.randint(0, 37, (length - 2,), generator=generator)
    return ids
