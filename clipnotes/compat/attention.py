"""Find out whether a model runs one of transformers' own attention functions.

An attention function is not a module. The model looks it up by a name in its configuration, and
anybody can register a function of their own under a name. So neither the weights nor the modules
of a model show that it attends in a different way.
"""

import sys
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from clipnotes.compat.compiled import original

# Those that transformers itself brings. All of them compute the same numbers.
IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def attending(layers: Iterable[Any]) -> list[nn.Module]:
    """Find the module in each layer that makes the weights, which it returns behind its states.

    CLIP's and SigLIP's is ``self_attn``. BERT's is ``attention.self``; ViT's ``attention`` has
    another ``attention`` inside up to 5.5.
    """
    found = []
    for layer in layers:
        outer = getattr(layer, "self_attn", None)
        if outer is None:
            outer = getattr(layer.attention, "attention", layer.attention)
            outer = getattr(outer, "self", outer)
        found.append(outer)
    return found


def foreign_attention(layers: Iterable[Any]) -> str | None:
    """Say which attention function layers run if it is not transformers' own; else ``None``."""
    for module in attending(layers):
        attention = original(module)
        name = getattr(getattr(attention, "config", None), "_attn_implementation", None)
        if name is None:  # not a class of transformers, so it looks nothing up
            continue
        # We look where the module itself does. In 4.49 its class decides, so there is nothing.
        known = vars(sys.modules[type(attention).__module__])
        function = known.get("ALL_ATTENTION_FUNCTIONS", {}).get(name)
        if name == "eager" and function is None:
            function = known.get("eager_attention_forward")
        built_in = (getattr(function, "__module__", None) or "").startswith("transformers.")
        if function is None and name not in IMPLEMENTATIONS:
            return repr(name)
        if function is not None and not built_in:
            return f"{name!r}, which is {_place(function)},"
        fused = F.scaled_dot_product_attention
        if name == "sdpa" and fused is not torch._C._nn.scaled_dot_product_attention:
            return f"'sdpa', and torch's scaled_dot_product_attention is now {_place(fused)},"
    return None


def attention_functions() -> list[Any]:
    """The attention functions that models of transformers look up; none if nobody imported it."""
    found = getattr(sys.modules.get("transformers.modeling_utils"), "ALL_ATTENTION_FUNCTIONS", {})
    return list(found.values())


def refuse_foreign_attention(tower: Any, layers: Iterable[Any], what: str) -> None:
    """Raise ValueError if a tower's layers attend by a function that ``what`` cannot follow."""
    if function := foreign_attention(layers):
        raise ValueError(
            f"the attention of this {type(tower).__name__} is {function} and {what} knows only "
            'that of transformers: load the model with attn_implementation="sdpa"'
        )


def _place(function: Any) -> str:
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"
