"""Find the parts of a CLIP, in every version of transformers."""

from collections.abc import Sequence
from typing import Any

from torch import nn


def vision_tower(model: nn.Module) -> nn.Module:
    """Find the module inside a model that holds the vision tower's layers.

    Args:
        model: ``CLIPModel``, ``CLIPVisionModel``, ``CLIPVisionModelWithProjection``, or the tower.

    Returns:
        The model's own module, not a copy.

    Raises:
        TypeError: The model has no CLIP vision tower.

    Example:
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> model = CLIPVisionModel(CLIPVisionConfig(hidden_size=8, num_attention_heads=2))
        >>> [name for name, _ in vision_tower(model).named_children()]
        ['embeddings', 'pre_layrnorm', 'encoder', 'post_layernorm']
    """
    return _find_tower(model, "vision", "embeddings", "pre_layrnorm", "encoder", "post_layernorm")


def text_tower(model: nn.Module) -> nn.Module:
    """Find the module inside a model that holds the text tower's layers.

    Args:
        model: ``CLIPModel``, ``CLIPTextModel``, ``CLIPTextModelWithProjection``, or the tower.

    Returns:
        The model's own module, not a copy.

    Raises:
        TypeError: The model has no CLIP text tower.

    Example:
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> model = CLIPTextModel(CLIPTextConfig(hidden_size=8, num_attention_heads=2))
        >>> [name for name, _ in text_tower(model).named_children()]
        ['embeddings', 'encoder', 'final_layer_norm']
    """
    return _find_tower(model, "text", "embeddings", "encoder", "final_layer_norm")


def _find_tower(model: nn.Module, kind: str, *parts: str) -> nn.Module:
    found = inside(model, f"{kind}_model", parts)
    if found is not None:
        return found
    title = kind.capitalize()
    wrapped = isinstance(getattr(model, "module", None), nn.Module)
    hint = " Of a model that is wrapped, give what is inside: its `.module`." * wrapped
    raise TypeError(
        f"no CLIP {kind} tower in a {type(model).__name__}. Give a CLIPModel, CLIP{title}Model or "
        f"CLIP{title}ModelWithProjection of transformers, or the tower inside one (a module with "
        f"{', '.join(parts)}). Of a larger model, give the part that is CLIP.{hint}"
    )


def inside(model: Any, part: str, attributes: Sequence[str]) -> Any:
    """Go from a model to its part, and on to that one's, until one has all these; else ``None``."""
    # Attributes keep their names longer than classes do: `CLIPVisionTransformer` went in 5.18.
    candidate = model
    while candidate is not None and not all(hasattr(candidate, name) for name in attributes):
        candidate = getattr(candidate, part, None)
    return candidate


def text_projection(model: nn.Module) -> nn.Linear:
    """Find the matrix that takes a pooled text into the shared space.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``.

    Returns:
        The model's own layer, not a copy.

    Raises:
        TypeError: The model has no text projection, or one that is more than a matrix (GroupViT).

    Example:
        >>> from transformers import CLIPTextConfig, CLIPTextModelWithProjection
        >>> config = CLIPTextConfig(hidden_size=8, num_attention_heads=2, projection_dim=6)
        >>> text_projection(CLIPTextModelWithProjection(config))
        Linear(in_features=8, out_features=6, bias=False)
    """
    return _matrix(model, "text_projection")


def visual_projection(model: nn.Module) -> nn.Linear:
    """Find the matrix that takes a pooled image into the shared space.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``.

    Returns:
        The model's own layer, not a copy.

    Raises:
        TypeError: The model has no visual projection, or one that is more than a matrix.

    Example:
        >>> from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
        >>> config = CLIPVisionConfig(hidden_size=8, num_attention_heads=2, projection_dim=6)
        >>> visual_projection(CLIPVisionModelWithProjection(config))
        Linear(in_features=8, out_features=6, bias=False)
    """
    return _matrix(model, "visual_projection")


def _matrix(model: nn.Module, name: str) -> Any:
    found = projection(model, name)
    if not hasattr(found, "out_features"):
        raise TypeError(
            f"the {name} of a {type(model).__name__} is a {type(found).__name__}, and CLIP's "
            "is one matrix. Give a model whose projections are as CLIP's"
        )
    return found


def projection(model: nn.Module, name: str) -> Any:
    """Find a projection by its name, which may be more than a matrix."""
    if not hasattr(model, name):
        raise TypeError(
            f"a {type(model).__name__} has no {name}, so it cannot place anything in the shared "
            "space. Give a CLIPModel or one of the ...ModelWithProjection classes."
        )
    return getattr(model, name)
