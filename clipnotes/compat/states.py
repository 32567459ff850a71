"""Run a tower and return all its hidden states and attentions, in every version of transformers."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from clipnotes.compat.attention import attending, refuse_foreign_attention
from clipnotes.compat.compiled import refuse_compiled
from clipnotes.compat.families import FAMILIES, Family, family_of
from clipnotes.compat.implementations import attention_as


class TowerStates(NamedTuple):
    """The hidden states, attentions and pooled output of one tower, none of them missing.

    Attributes:
        last_hidden_state: (B, L, D), what the tower returns. For text, after
            ``final_layer_norm``; of a ViT, after its last norm.
        pooler_output: (B, D), the tower's own pooled vector, before any projection. Of Chinese-CLIP
            the state at the first place, which is what it projects.
        hidden_states: n_layers + 1 of (B, L, D): the encoder's input, then the output of each
            layer. The last one of a text tower or of a ViT is *before* its last norm.
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
        model: A two-tower model of a family in ``compat.FAMILIES``. The vision tower alone will do,
            except for that of a VisionTextDualEncoder, which may be of any family.
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
    family = _family_of(model)
    tower, layers = family.vision_tower(model), family.vision_layers(model)
    output, hidden_states, attentions = _run(tower, layers, pixel_values=pixel_values, **kwargs)
    return TowerStates(output[0], output[1], hidden_states, attentions)


def text_states(
    model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
) -> TowerStates:
    """Run the text tower and return all its states; nothing is ``None`` or empty.

    Args:
        model: A two-tower model of a family in ``compat.FAMILIES``. The text tower alone will do,
            except for that of a VisionTextDualEncoder, which may be of any family.
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
    family = _family_of(model)
    tower, layers = family.text_tower(model), family.text_layers(model)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **kwargs}
    output, hidden_states, attentions = _run(tower, layers, **inputs)
    return TowerStates(output[0], family.pooled_text(output, None), hidden_states, attentions)


def _family_of(model: nn.Module) -> Family:
    """Find a model's family; CLIP, which says what it looked for, if it is none that is known."""
    try:
        return family_of(model)
    except TypeError:
        return FAMILIES[0]


def _run(
    tower: Any, layers: nn.ModuleList, **inputs: Any
) -> tuple[Any, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Run a tower; return its output, its hidden states and its attentions."""
    refuse_foreign_attention(tower, layers, "what shows its weights")
    refuse_compiled(tower, attending(layers), "what records its states")
    # Towers keep all, some or none of it, and in other orders: what the layers say is the same.
    with eager_attention(tower), _heard(layers) as (hidden_states, attentions):
        output = tower(**inputs, output_attentions=True)
    n_layers = len(layers)
    if len(attentions) != n_layers or any(weights is None for weights in attentions):
        raise RuntimeError(
            f"not all {n_layers} layers of {type(tower).__name__} gave attention weights. "
            "Its attention modules must be the ones that transformers puts there."
        )
    return output, tuple(hidden_states), tuple(attentions)


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
        for module in attending(layers):
            stack.callback(module.register_forward_hook(weights).remove)
        yield hidden_states, attentions
