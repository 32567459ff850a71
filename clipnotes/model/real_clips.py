"""The CLIPs that OpenAI published as vision transformers: their sizes, without their weights."""

from typing import Any, NamedTuple


class _Sizes(NamedTuple):
    hub: str
    image_size: int
    patch_size: int
    vision_layers: int
    vision_width: int
    text_width: int
    shared_width: int


#: Radford et al. 2021, table 20; the configurations on the hub have the same numbers.
_SIZES = {
    "ViT-B/32": _Sizes("openai/clip-vit-base-patch32", 224, 32, 12, 768, 512, 512),
    "ViT-B/16": _Sizes("openai/clip-vit-base-patch16", 224, 16, 12, 768, 512, 512),
    "ViT-L/14": _Sizes("openai/clip-vit-large-patch14", 224, 14, 24, 1024, 768, 768),
    "ViT-L/14-336": _Sizes("openai/clip-vit-large-patch14-336", 336, 14, 24, 1024, 768, 768),
}
TEXT_LAYERS = 12
HEAD_WIDTH = 64  # of every head, in both towers

#: The name of each, as papers have it, and its id on the hub.
REAL_CLIPS = {name: sizes.hub for name, sizes in _SIZES.items()}


def real_config(name: str) -> Any:
    """Return the configuration of a CLIP that OpenAI published, without a network.

    With it, the model can be built on the meta device: with its real sizes, and no memory for its
    weights. ``eos_token_id`` is 2, as in OpenAI's own configurations on the hub, though the
    tokenizer ends a text with 49407: CLIP's classes take 2 to mean "the largest id".

    Args:
        name: A name in ``REAL_CLIPS``: "ViT-B/32", "ViT-B/16", "ViT-L/14" or "ViT-L/14-336".

    Returns:
        A new ``CLIPConfig``.

    Raises:
        ValueError: No CLIP has this name.

    Example:
        >>> import torch
        >>> from transformers import CLIPModel
        >>> with torch.device("meta"):
        ...     model = CLIPModel(real_config("ViT-L/14"))
        >>> model.visual_projection.weight.shape
        torch.Size([768, 1024])
    """
    from transformers import CLIPConfig

    if name not in _SIZES:
        raise ValueError(f"no CLIP {name!r}; there are {', '.join(_SIZES)}")
    sizes = _SIZES[name]

    def tower(width: int, layers: int) -> dict[str, Any]:
        return {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "num_attention_heads": width // HEAD_WIDTH,
            "projection_dim": sizes.shared_width,
        }

    seen = {"image_size": sizes.image_size, "patch_size": sizes.patch_size}
    read = {"vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 2}
    return CLIPConfig(
        text_config=tower(sizes.text_width, TEXT_LAYERS) | read,
        vision_config=tower(sizes.vision_width, sizes.vision_layers) | seen,
        projection_dim=sizes.shared_width,
    )
