"""Find the parts of a CLIP and encode with them, in every version of transformers."""

from typing import Any

import torch
from torch import Tensor, nn


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
    # Attributes keep their names longer than classes do: `CLIPVisionTransformer` went in 5.18.
    candidate: Any = model
    while candidate is not None:
        if all(hasattr(candidate, part) for part in parts):
            return candidate
        candidate = getattr(candidate, f"{kind}_model", None)
    title = kind.capitalize()
    wrapped = isinstance(getattr(model, "module", None), nn.Module)
    hint = " Of a model that is wrapped, give what is inside: its `.module`." * wrapped
    raise TypeError(
        f"no CLIP {kind} tower in a {type(model).__name__}. Give a CLIPModel, CLIP{title}Model or "
        f"CLIP{title}ModelWithProjection of transformers, or the tower inside one (a module with "
        f"{', '.join(parts)}). Of a larger model, give the part that is CLIP.{hint}"
    )


def image_features(model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> Tensor:
    """Encode images into the shared space: pooled, projected, not normalised.

    We call the tower and then the projection, so no output object has to be unwrapped. Pooled and
    projected vectors may have the same width (512 in the text tower of ViT-B/32), and then nobody
    would notice that the wrong one was taken from such an object.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``.
        pixel_values: (B, 3, height, width), floating point.
        **kwargs: Passed to the tower, for instance ``interpolate_pos_encoding=True``.

    Returns:
        (B, P), the same numbers as ``get_image_features`` gives, as a plain tensor.

    Raises:
        TypeError: The model has no vision tower or no projection.

    Example:
        >>> import torch
        >>> from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
        >>> config = CLIPVisionConfig(hidden_size=8, num_attention_heads=2, projection_dim=6)
        >>> model = CLIPVisionModelWithProjection(config)
        >>> image_features(model, torch.randn(5, 3, 224, 224)).shape
        torch.Size([5, 6])
    """
    tower, project = vision_tower(model), _projection(model, "visual_projection")
    return project(tower(pixel_values=pixel_values, **kwargs)[1])  # (B, D) -> (B, P)


def text_features(
    model: nn.Module,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    ends: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Encode texts into the shared space: pooled, projected, not normalised.

    The tower itself finds the end of a text by its configuration. Old configurations, OpenAI's
    among them, say ``eos_token_id=2``, and then every version of transformers takes the largest
    id for the end. That works until a token is added, because its id is larger than that of the
    end token. If you know where the texts end, pass ``ends``, as ``Clip.encode_text`` does.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``.
        input_ids: (B, L), integers.
        attention_mask: (B, L), 1 for tokens and 0 for padding; ``None`` means all tokens.
        ends: (B,), integers: where each text ends; ``None`` leaves it to the tower.
        **kwargs: Passed to the tower, for instance ``position_ids``.

    Returns:
        (B, P), a plain tensor, with the same numbers as ``get_text_features`` gives unless
        ``ends`` says something else than the tower would find.

    Raises:
        TypeError: The model has no text tower or no projection.

    Example:
        >>> import torch
        >>> from transformers import CLIPTextConfig, CLIPTextModelWithProjection
        >>> config = CLIPTextConfig(hidden_size=8, num_attention_heads=2, projection_dim=6)
        >>> model = CLIPTextModelWithProjection(config)
        >>> text_features(model, torch.tensor([[0, 5, 7, 19]])).shape
        torch.Size([1, 6])
    """
    tower, project = text_tower(model), _projection(model, "text_projection")
    output = tower(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
    pooled = output[1]  # (B, D)
    if ends is not None:
        states = output[0]  # (B, L, D)
        pooled = states[torch.arange(len(states), device=states.device), ends.to(states.device)]
    return project(pooled)  # (B, P)


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
    projection = _projection(model, name)
    if not hasattr(projection, "out_features"):
        raise TypeError(
            f"the {name} of a {type(model).__name__} is a {type(projection).__name__}, and CLIP's "
            "is one matrix. Give a model whose projections are as CLIP's"
        )
    return projection


def _projection(model: nn.Module, name: str) -> Any:
    if not hasattr(model, name):
        raise TypeError(
            f"a {type(model).__name__} has no {name}, so it cannot place anything in the shared "
            "space. Give a CLIPModel or one of the ...ModelWithProjection classes."
        )
    return getattr(model, name)
