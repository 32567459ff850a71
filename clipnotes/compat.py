"""Everything that depends on the version of transformers, and nothing else.

Hugging Face's CLIP computes the same numbers in every version, but it hands them out differently.
The rest of the package asks the functions below and does not look at versions. What differs
between those it is tested with, 4.49, 4.57, 5.5, 5.18 and 5.24:

- The module with the layers is ``model.vision_model``; since 5.18 ``CLIPVisionModel`` itself.
- ``get_image_features`` gives a tensor, but since 5.5 an output object whose ``pooler_output`` is
  overwritten by the projection.
- ``output_attentions=True`` under SDPA gives the weights and a warning in 4.49, a tuple of ``None``
  in 4.57, an empty tuple since 5.5.
- What was called gradient checkpointing is called activation checkpointing in 5.24.

Below, B is the batch size, N the number of tokens, D the width of a tower and P the width of the
space that both towers are projected into.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipnotes.attention import refuse_foreign_attention
from clipnotes.compiled import refuse_compiled


class TowerStates(NamedTuple):
    """What one tower computed, complete in every version of transformers.

    Attributes:
        last_hidden_state: (B, N, D). For text, after ``final_layer_norm``.
        pooler_output: (B, D), the tower's own pooled vector, before any projection.
        hidden_states: n_layers + 1 of (B, N, D): what went into the encoder, then what each layer
            made of it. The last one of a text tower is *before* ``final_layer_norm``.
        attentions: n_layers of (B, n_heads, N, N); without dropout each row sums to 1.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor
    hidden_states: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...]


def vision_tower(model: nn.Module) -> nn.Module:
    """Find the module that itself holds the vision tower's layers: the model's own, not a copy.

    Args:
        model: ``CLIPModel``, ``CLIPVisionModel``, ``CLIPVisionModelWithProjection``, or the tower.

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
    """Find the module that itself holds the text tower's layers: the model's own, not a copy.

    Args:
        model: ``CLIPModel``, ``CLIPTextModel``, ``CLIPTextModelWithProjection``, or the tower.

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
    # Names of attributes outlive names of classes: `CLIPVisionTransformer` is gone since 5.18.
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

    The tower and the projection are called one after the other, so no output object needs to be
    unwrapped. The pooled and the projected vector can have the same width (512 in the text tower
    of ViT-B/32), and then nothing would tell that the wrong one was taken.

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

    A tower pools where its configuration lets it look for the end. With ``eos_token_id=2``, which
    old configurations have, OpenAI's among them, that is the place of the largest id, in every
    version of transformers: right until a token is added, whose id is larger than the end's. Who
    knows where the texts end says so in ``ends``, as ``Clip.encode_text`` does.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``.
        input_ids: (B, N), integers.
        attention_mask: (B, N), 1 for tokens and 0 for padding; ``None`` means all tokens.
        ends: (B,), integers: where to pool; ``None`` leaves it to the tower.
        **kwargs: Passed to the tower, for instance ``position_ids``.

    Returns:
        (B, P), the same numbers as ``get_text_features`` gives, as a plain tensor; with ``ends``
        also where that pools elsewhere.

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
        states = output[0]  # (B, N, D)
        pooled = states[torch.arange(len(states), device=states.device), ends.to(states.device)]
    return project(pooled)  # (B, P)


def text_projection(model: nn.Module) -> nn.Linear:
    """Find the matrix that takes a pooled text into the shared space: the model's own, not a copy.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``.

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
    """Find the matrix that takes a pooled picture into the shared space: the model's own, no copy.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``.

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
    found = _projection(model, name)
    if not hasattr(found, "out_features"):
        raise TypeError(
            f"the {name} of a {type(model).__name__} is a {type(found).__name__}, and CLIP's is "
            "one matrix. Give a model whose projections are as CLIP's"
        )
    return found


def _projection(model: nn.Module, name: str) -> Any:
    if not hasattr(model, name):
        raise TypeError(
            f"a {type(model).__name__} has no {name}, so it cannot place anything in the shared "
            "space. Give a CLIPModel or one of the ...ModelWithProjection classes."
        )
    return getattr(model, name)


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Make a model compute attention step by step, so that its weights can come out.

    SDPA, the default, never forms the weights. Inside this context
    ``output_attentions=True`` returns them in every version, without a warning. After it, also
    after an exception, each tower is back at the implementation it had.

    Args:
        model: A CLIP model or a part of one. Meanwhile, no other thread should run it.

    Example:
        >>> import torch
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> model = CLIPVisionModel(CLIPVisionConfig(hidden_size=8, num_attention_heads=2))
        >>> with eager_attention(model):
        ...     out = model(torch.randn(1, 3, 224, 224), output_attentions=True)
        >>> out.attentions[0].shape
        torch.Size([1, 2, 50, 50])
    """
    modules = list(model.modules())
    # The property `_attn_implementation` writes through to nested configs, and so would undo a
    # tower's own setting when we restore its parent. The value behind it belongs to one config.
    key = "_attn_implementation_internal"
    configs = {id(c): c for m in modules if hasattr(c := getattr(m, "config", None), key)}.values()
    before = [(config, getattr(config, key)) for config in configs]
    twins = [(module, type(module), twin) for module in modules if (twin := _eager_twin(module))]
    try:
        for config, _ in before:
            setattr(config, key, "eager")
        for module, _, twin in twins:
            module.__class__ = twin
        yield
    finally:
        for config, value in before:
            setattr(config, key, value)
        for module, own_class, _ in twins:
            module.__class__ = own_class


def _eager_twin(module: nn.Module) -> type[nn.Module] | None:
    """Return the eager class of an attention module, where classes are the choice (4.49)."""
    by_name = getattr(inspect.getmodule(type(module)), "CLIP_ATTENTION_CLASSES", {})
    return by_name["eager"] if type(module) in by_name.values() else None


def checkpoint_layers(model: Any, **how: Any) -> None:
    """Make a model's layers compute twice, in training mode, to keep less for the way back.

    The method has another name in 5.24, where the old one warns.

    Args:
        model: A model of transformers.
        **how: Passed to ``torch.utils.checkpoint.checkpoint``, for instance
            ``use_reentrant=False``. Without any, the version of transformers decides.

    Example:
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> model = CLIPTextModel(CLIPTextConfig(hidden_size=8, num_attention_heads=2))
        >>> checkpoint_layers(model, use_reentrant=False)
        >>> any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
        True
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)(how or None)


def changes_nothing(hook: Callable[..., Any]) -> bool:
    """Tell whether a hook is one of transformers' or torch's own, which change no number.

    Since 5.2 the hooks that record hidden states stay where they were first wanted, and in every
    version ``enable_input_require_grads`` leaves one at the token table. While torch counts
    operations (``FlopCounterMode``), a tracker of it has hooks on all modules.

    Args:
        hook: What was registered.

    Example:
        >>> changes_nothing(print)
        False
    """
    return getattr(hook, "__module__", None) in (
        "transformers.utils.output_capturing",
        "transformers.modeling_utils",
        "torch.utils.module_tracker",
    )


def vision_states(model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> TowerStates:
    """Run the vision tower and return everything on the way; nothing is ``None`` or empty.

    Args:
        model: Any model that ``vision_tower`` accepts.
        pixel_values: (B, 3, height, width), floating point.
        **kwargs: Passed to the tower.

    Raises:
        TypeError: The model has no vision tower.
        ValueError: A layer is compiled, or attention is a function of somebody's own.
        RuntimeError: A layer gave no attention weights (its attention module was replaced).

    Example:
        >>> import torch
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> model = CLIPVisionModel(CLIPVisionConfig(hidden_size=8, num_attention_heads=2))
        >>> states = vision_states(model, torch.randn(1, 3, 224, 224))
        >>> states.pooler_output.shape, len(states.hidden_states), len(states.attentions)
        (torch.Size([1, 8]), 13, 12)
    """
    return _states(vision_tower(model), pixel_values=pixel_values, **kwargs)


def text_states(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> TowerStates:
    """Run the text tower and return everything on the way; nothing is ``None`` or empty.

    Args:
        model: Any model that ``text_tower`` accepts.
        input_ids: (B, N), integers.
        attention_mask: (B, N), 1 for tokens and 0 for padding.
        **kwargs: Passed to the tower.

    Raises:
        TypeError, ValueError, RuntimeError: As in ``vision_states``.

    Example:
        >>> import torch
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> model = CLIPTextModel(CLIPTextConfig(hidden_size=8, num_attention_heads=2))
        >>> states = text_states(model, torch.tensor([[0, 5, 7, 19]]))
        >>> states.pooler_output.shape, len(states.hidden_states), len(states.attentions)
        (torch.Size([1, 8]), 13, 12)
    """
    return _states(text_tower(model), input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def _states(tower: Any, **inputs: Any) -> TowerStates:
    refuse_foreign_attention(tower, "what shows its weights")
    layers = tower.encoder.layers
    refuse_compiled(tower, [layer.self_attn for layer in layers], "what records its states")
    with eager_attention(tower):
        output = tower(**inputs, output_hidden_states=True, output_attentions=True)
    # All four were asked for, so every version has them in this order.
    states = TowerStates(*(output if isinstance(output, tuple) else output.to_tuple()))
    n_layers = len(layers)
    if len(states.attentions) != n_layers or any(weights is None for weights in states.attentions):
        raise RuntimeError(
            f"not all {n_layers} layers of {type(tower).__name__} gave attention weights. "
            "Its attention modules must be the ones that transformers puts there."
        )
    return states


def source_url(obj: type | Callable[..., Any]) -> str:
    """Return the address on GitHub of the line that defines something, at the installed version.

    Args:
        obj: A class, function or method of transformers.

    Raises:
        TypeError: The object is not a class or function defined in transformers.

    Example:
        >>> from transformers import CLIPModel
        >>> source_url(CLIPModel)
        'https://github.com/huggingface/transformers/blob/v.../src/transformers/models/clip/...'
    """
    obj = inspect.unwrap(obj)
    module = getattr(obj, "__module__", None) or ""
    named = inspect.isclass(obj) or inspect.isroutine(obj)
    if not named or module.split(".")[0] != "transformers":
        raise TypeError(
            f"{obj!r} is not a class or function of transformers. Give one, for instance "
            "transformers.CLIPModel; of an object, give its type."
        )
    import transformers

    lines, first = inspect.getsourcelines(obj)
    # `first` is the line of a decorator, if there is one; a reader looks for the name.
    starts = (n for n, line in enumerate(lines) if line.lstrip().startswith(("class ", "def ")))
    path = module.replace(".", "/")
    blob = f"https://github.com/huggingface/transformers/blob/v{transformers.__version__}"
    return f"{blob}/src/{path}.py#L{first + next(starts)}"


def image_processor_class() -> Any:
    """Find the image processor that works on PIL pictures and gives the same pixels everywhere.

    Since 5.5 ``CLIPImageProcessor`` is the torchvision one; the one for PIL has its own name.

    Example:
        >>> image_processor_class()(size=8, crop_size=8).crop_size["height"]
        8
    """
    import transformers

    return getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor


def recorded() -> dict[str, dict[str, Any]]:
    """What other versions of transformers do, as ``book/record.py`` saw it in each of them.

    Returns:
        Version -> facts, oldest version first: the printed tree, class names, what is returned.

    Example:
        >>> recorded()["4.49.0"]["get_image_features"]
        'Tensor'
    """
    files = (Path(__file__).parent / "recorded").glob("*.json")
    found = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    by_age = sorted(found, key=lambda facts: [int(n) for n in facts["transformers"].split(".")])
    return {facts["transformers"]: facts for facts in by_age}
