"""Whether a model of transformers attends as it is written there: a softmax over dot products.

The function that does it is no module. It is looked up by a name in the configuration, among those
of transformers and those that somebody registered, so neither weights nor modules tell of it.
"""

import sys
from typing import Any

import torch
import torch.nn.functional as F

from clipnotes.compat.compiled import original

# Of transformers, and the same numbers from all of them.
IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def foreign_attention(tower: Any) -> str | None:
    """Say what a tower attends with if it is somebody's own; ``None`` if it is transformers'.

    Args:
        tower: A tower, as ``compat.text_tower`` or ``compat.vision_tower`` finds it.

    Example:
        >>> import clipnotes
        >>> foreign_attention(clipnotes.load().model.vision_model) is None
        True
    """
    for layer in tower.encoder.layers:
        attention = original(layer.self_attn)
        name = getattr(getattr(attention, "config", None), "_attn_implementation", None)
        if name is None:  # a module of another kind: nothing is looked up
            continue
        # Where the module itself looks. In 4.49 it is the class that decides.
        known = vars(sys.modules[type(attention).__module__])
        function = known.get("ALL_ATTENTION_FUNCTIONS", {}).get(name)
        if name == "eager" and function is None:
            function = known.get("eager_attention_forward")
        own = (getattr(function, "__module__", None) or "").startswith("transformers.")
        if function is None and name not in IMPLEMENTATIONS:
            return repr(name)
        if function is not None and not own:
            return f"{name!r}, which is {_place(function)},"
        fused = F.scaled_dot_product_attention
        if name == "sdpa" and fused is not torch._C._nn.scaled_dot_product_attention:
            return f"'sdpa', and torch's scaled_dot_product_attention is now {_place(fused)},"
    return None


def refuse_foreign_attention(tower: Any, what: str) -> None:
    """Raise if a tower attends with somebody's own function.

    Args:
        tower: A tower.
        what: What cannot follow it, for the message.

    Raises:
        ValueError: It does.

    Example:
        >>> import clipnotes
        >>> refuse_foreign_attention(clipnotes.load().model.vision_model, "a copy")
    """
    if found := foreign_attention(tower):
        raise ValueError(
            f"the attention of this {type(tower).__name__} is {found} and {what} knows only that "
            'of transformers: load the model with attn_implementation="sdpa"'
        )


def _place(function: Any) -> str:
    kind = function if hasattr(function, "__qualname__") else type(function)
    return f"{kind.__module__}.{kind.__qualname__}"
