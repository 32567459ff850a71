"""Run a tower and return all its hidden states and attentions, in every version of transformers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from clipnotes.compat.attention import refuse_foreign_attention
from clipnotes.compat.compiled import refuse_compiled
from clipnotes.compat.families import family_of
from clipnotes.compat.implementations import attention_as
from clipnotes.compat.towers import text_tower, vision_tower


class TowerStates(NamedTuple):
    """The hidden states, attentions and pooled output of one tower, none of them missing.

    Attributes:
        last_hidden_state: (B, L, D). For text, after ``final_layer_norm``.
        pooler_output: (B, D), the tower's own pooled vector, before any projection.
        hidden_states: n_layers + 1 of (B, L, D): the encoder's input, then the output of each
            layer. The last one of a text tower is *before* ``final_layer_norm``.
        attentions: n_layers of (B, H, L, L); without dropout each row sums to 1.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor
    hidden_states: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...]


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Make a model compute attention step by step, so that it can return the attention weights.

    SDPA, the default, never forms the weights. Inside this context ``output_attentions=True``
    returns them in every version, without a warning. On leaving it, even by an exception, each
    tower gets back the implementation it had.

    Args:
        model: A CLIP model or a part of one. No other thread should run it inside the context.

    Example:
        >>> import torch
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> model = CLIPVisionModel(CLIPVisionConfig(hidden_size=8, num_attention_heads=2))
        >>> with eager_attention(model):
        ...     out = model(torch.randn(1, 3, 224, 224), output_attentions=True)
        >>> out.attentions[0].shape
        torch.Size([1, 2, 50, 50])
    """
    with attention_as(model, "eager"):
        yield


def vision_states(model: nn.Module, pixel_values: Tensor, **kwargs: Any) -> TowerStates:
    """Run the vision tower and return all its states; nothing is ``None`` or empty.

    Args:
        model: A two-tower model or its vision tower, of CLIP's families or of SigLIP's.
        pixel_values: (B, 3, height, width), floating point.
        **kwargs: Passed to the tower.

    Returns:
        The states of all layers, see ``TowerStates``.

    Raises:
        TypeError: The model has no vision tower.
        ValueError: A layer is compiled, or the attention function is not one of transformers'.
        RuntimeError: A layer gave no attention weights (its attention module was replaced).

    Example:
        >>> import torch
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> model = CLIPVisionModel(CLIPVisionConfig(hidden_size=8, num_attention_heads=2))
        >>> states = vision_states(model, torch.randn(1, 3, 224, 224))
        >>> states.pooler_output.shape, len(states.hidden_states), len(states.attentions)
        (torch.Size([1, 8]), 13, 12)
    """
    tower = _as_clip(model, "vision_tower", vision_tower)
    return _states(tower, pixel_values=pixel_values, **kwargs)


def text_states(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> TowerStates:
    """Run the text tower and return all its states; nothing is ``None`` or empty.

    Args:
        model: A two-tower model or its text tower, of CLIP's families or of SigLIP's.
        input_ids: (B, L), integers.
        attention_mask: (B, L), 1 for tokens and 0 for padding.
        **kwargs: Passed to the tower.

    Returns:
        The states of all layers, see ``TowerStates``.

    Raises:
        TypeError: The model has no text tower.
        ValueError, RuntimeError: As in ``vision_states``.

    Example:
        >>> import torch
        >>> from transformers import CLIPTextConfig, CLIPTextModel
        >>> model = CLIPTextModel(CLIPTextConfig(hidden_size=8, num_attention_heads=2))
        >>> states = text_states(model, torch.tensor([[0, 5, 7, 19]]))
        >>> states.pooler_output.shape, len(states.hidden_states), len(states.attentions)
        (torch.Size([1, 8]), 13, 12)
    """
    tower = _as_clip(model, "text_tower", text_tower)
    return _states(tower, input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def _as_clip(model: nn.Module, name: str, clips: Callable[[nn.Module], nn.Module]) -> Any:
    """Find a tower whose layers are built as CLIP's, as SigLIP's are; say so where they are not."""
    try:
        tower = getattr(family_of(model), name)(model)
    except TypeError:
        return clips(model)
    layers = getattr(getattr(tower, "encoder", None), "layers", [None])
    return tower if all(hasattr(layer, "self_attn") for layer in layers) else clips(model)


def _states(tower: Any, **inputs: Any) -> TowerStates:
    refuse_foreign_attention(tower, "what shows its weights")
    layers = tower.encoder.layers
    refuse_compiled(tower, [layer.self_attn for layer in layers], "what records its states")
    with eager_attention(tower), _heard(layers) as (hidden_states, attentions):
        output = tower(**inputs, output_hidden_states=True, output_attentions=True)
    # With both flags set, every version returns all four of CLIP, in this order.
    found = output if isinstance(output, tuple) else output.to_tuple()
    if len(found) == 2:  # in 5.5 the towers inside of CLIP's relatives keep neither
        found = (*found, tuple(hidden_states), tuple(attentions))
    states = TowerStates(*found)
    n_layers = len(layers)
    if len(states.attentions) != n_layers or any(weights is None for weights in states.attentions):
        raise RuntimeError(
            f"not all {n_layers} layers of {type(tower).__name__} gave attention weights. "
            "Its attention modules must be the ones that transformers puts there."
        )
    return states


@contextmanager
def _heard(layers: Any) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Keep what goes into the first layer, what each layer returns, and its attention weights."""
    hidden_states: list[Tensor] = []
    attentions: list[Tensor] = []

    def first(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden_states.append(args[0] if args else kwargs["hidden_states"])

    def state(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        hidden_states.append(output if isinstance(output, Tensor) else output[0])

    def weights(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        attentions.append(output[1])

    with ExitStack() as stack:
        for i, layer in enumerate(layers):
            if i == 0:
                hook = layer.register_forward_pre_hook(first, with_kwargs=True)
                stack.callback(hook.remove)
            stack.callback(layer.register_forward_hook(state).remove)
            stack.callback(layer.self_attn.register_forward_hook(weights).remove)
        yield hidden_states, attentions
