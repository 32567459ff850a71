"""Small random models that checks try answers on: no answer can know their numbers beforehand."""

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel


def small_clip(*, width: int = 16, layers: int = 3, seed: int = 0) -> CLIPModel:
    """Build a small ``CLIPModel`` with random weights, in evaluation mode.

    Pictures are 12 pixels wide, patches 4. The vocabulary has 40 tokens, EOS is 38, at most 16
    make a text. The shared space is 12 wide.

    Args:
        width: D of both towers, a multiple of 4.
        layers: of each tower.
        seed: of the weights.

    Example:
        >>> small_clip().config.vision_config.patch_size
        4
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
    """Draw random pictures for a small CLIP.

    Args:
        n: how many.
        seed: of the pixels.

    Returns:
        pixel_values (n, 3, 12, 12).

    Example:
        >>> small_pictures(5).shape
        torch.Size([5, 3, 12, 12])
    """
    return torch.randn(n, 3, 12, 12, generator=torch.Generator().manual_seed(seed))


def small_texts(*lengths: int, seed: int = 1) -> Tensor:
    """Draw random token ids for a small CLIP: SOS, words, EOS, and EOS again as padding.

    Args:
        *lengths: of each text, SOS and EOS counted.
        seed: of the words.

    Returns:
        input_ids (len(lengths), longest).

    Example:
        >>> small_texts(3, 5)[0, 2:]
        tensor([38, 38, 38])
    """
    ids = torch.full((len(lengths), max(lengths)), 38)
    ids[:, 0] = 37
    generator = torch.Generator().manual_seed(seed)
    for row, length in zip(ids, lengths, strict=True):
        row[1 : length - 1] = torch.randint(0, 37, (length - 2,), generator=generator)
    return ids
