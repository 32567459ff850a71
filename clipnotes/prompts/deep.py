"""Vectors inside of a tower: in the place of tokens, in front of its layers, while it runs.

A vector that went into a tower is changed by its first layer, as every token is. A deep prompt
starts anew: in front of a later layer, what became of the vectors is replaced by other ones.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import family_of, image_features, shared_width
from clipnotes.compat.compiled import refuse_compiled
from clipnotes.model import unit_length
from clipnotes.pictures.batches import at_once
from clipnotes.prompts.frozen import frozen
from clipnotes.prompts.substitute import put, substitute


@contextmanager
def in_layers(
    tower: nn.Module, layers: nn.ModuleList, prompts: Tensor, positions: Tensor
) -> Iterator[None]:
    """Run a tower with ``prompts``, (depth, n_ctx, D), at ``positions``, (n_ctx,) or (B, n_ctx).

    ``layers`` are the tower's, which families of models keep at different places.
    """
    # Row 0 is part of the input, and whoever calls this puts it there. Behind the last layer that
    # has vectors of its own, they are tokens like any other.
    check_depth(layers, len(prompts), "the")
    refuse_recomputing(tower, "prompts")
    deeper = layers[1 : len(prompts)]
    refuse_compiled(tower, deeper, "the prompts")
    with ExitStack() as stack:
        for layer, prompt in zip(deeper, prompts[1:], strict=True):
            hook = layer.register_forward_pre_hook(_put(prompt, positions), with_kwargs=True)
            stack.callback(hook.remove)
        yield


def refuse_recomputing(tower: nn.Module, what: str) -> None:
    """Raise if backward would compute layers again when what a hook put there has gone."""
    again = any(getattr(m, "gradient_checkpointing", False) and m.training for m in tower.modules())
    if again and torch.is_grad_enabled():
        raise ValueError(
            "the tower is in training mode with gradient checkpointing, and in most versions of "
            f"transformers backward would then compute its layers again without the {what}: set "
            "model.eval()"
        )


def _put(prompt: Tensor, positions: Tensor) -> Any:
    # Only the places of texts, (B, n_ctx), are somebody else's and have to be looked at.
    replace = put if positions.dim() == 1 else substitute

    def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # CLIP passes the hidden states as the first positional argument in every version of
        # transformers; a BERT in 4.57 gives them a name.
        if args:
            return (replace(args[0], prompt, positions), *args[1:]), kwargs
        states = replace(kwargs["hidden_states"], prompt, positions)
        return args, {**kwargs, "hidden_states": states}

    return hook


def check_depth(layers: nn.ModuleList, depth: int, which: str) -> None:
    """Check a number of layers that get prompts."""
    n_layers = len(layers)
    if not isinstance(depth, int) or isinstance(depth, bool):
        raise TypeError(f"depth is {depth!r}: give an integer, the number of layers with prompts")
    if not 1 <= depth <= n_layers:
        raise ValueError(
            f"depth is {depth}, and {which} tower has {n_layers} layers: give 1 to {n_layers}"
        )


@contextmanager
def prompted(model: Any, prompts: Tensor) -> Iterator[None]:
    """Run a vision tower with (depth, n_ctx, D) prompts behind its class tokens, if it has any."""
    family, n_ctx = family_of(model), prompts.shape[1]
    tower, embeddings = family.vision_tower(model), family.vision_embeddings(model)
    behind = family.class_tokens(model)  # the prompts stand behind these, in front of the patches

    def insert(module: nn.Module, args: tuple[Any, ...], tokens: Tensor) -> Tensor:
        # Here they pass pre_layrnorm with the other tokens and get no position.
        first = prompts[0].to(tokens).expand(tokens.shape[0], -1, -1)  # (B, n_ctx, D)
        parts = [tokens[:, :behind], first, tokens[:, behind:]]
        return torch.cat(parts, dim=1)  # (B, L + n_ctx, D)

    refuse_compiled(tower, [embeddings], "the prompts")
    layers, positions = family.vision_layers(model), torch.arange(behind, behind + n_ctx)
    with in_layers(tower, layers, prompts, positions), ExitStack() as stack:
        stack.callback(embeddings.register_forward_hook(insert).remove)
        yield


def encode_with_prompts(model: Any, pixel_values: Tensor, prompts: Tensor) -> Tensor:
    """Encode (B, 3, S, S) pixels with (depth, n_ctx, D) prompts: (B, P), unit length."""
    if len(pixel_values) == 0:
        # transformers cannot encode an empty batch, and a process without a part of one still needs
        # a gradient, which is 0.
        return prompts.new_zeros(0, shared_width(model)) + 0 * prompts.sum()
    with prompted(model, prompts), frozen(model):
        parts = [
            image_features(model, batch.to(model.device, model.dtype))
            for batch in pixel_values.split(at_once(model))
        ]
    features = torch.cat(parts)  # (B, P)
    return unit_length(features.to(torch.promote_types(features.dtype, prompts.dtype)))
