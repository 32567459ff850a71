"""Let a model attend step by step or in one fused call, whichever family it belongs to."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

# The property `_attn_implementation` writes through to nested configs, and so would undo a tower's
# own setting when its parent's is put back. The value behind it belongs to one config.
KEY = "_attn_implementation_internal"


@contextmanager
def attention_as(model: nn.Module, name: str) -> Iterator[None]:
    """Make all parts of a model compute attention as ``name`` says, and put it back at the end.

    What a part does not know it ignores: whoever wants to know whether it made a difference has to
    look at what was computed.

    Args:
        model: Any model of transformers or a part of one.
        name: ``eager`` or ``sdpa``.

    Example:
        >>> from transformers import CLIPVisionConfig, CLIPVisionModel
        >>> model = CLIPVisionModel(CLIPVisionConfig(hidden_size=8, num_attention_heads=2))
        >>> with attention_as(model, "eager"):
        ...     model.config._attn_implementation
        'eager'
    """
    modules = list(model.modules())
    configs = {id(c): c for m in modules if hasattr(c := getattr(m, "config", None), KEY)}.values()
    before: list[tuple[Any, str, Any]] = [(config, KEY, getattr(config, KEY)) for config in configs]
    # In 4.49 a BERT keeps the name a second time, and it decides there which mask is made.
    kept = [m for m in modules if isinstance(getattr(m, "attn_implementation", None), str)]
    before += [(module, "attn_implementation", module.attn_implementation) for module in kept]
    twins = [(m, type(m), twin) for m in modules if (twin := _twin(m, name)) is not None]
    try:
        for holder, key, _ in before:
            setattr(holder, key, name)
        for module, _, twin in twins:
            module.__class__ = twin
        yield
    finally:
        for holder, key, value in before:
            setattr(holder, key, value)
        for module, original_class, _ in twins:
            module.__class__ = original_class


def _twin(module: nn.Module, name: str) -> type[nn.Module] | None:
    """Return the class with the same weights that attends in this way (4.49 has one for each)."""
    known, own = vars(inspect.getmodule(type(module)) or object), type(module).__name__
    for table, by_name in known.items():
        is_table = table.endswith("_ATTENTION_CLASSES") and isinstance(by_name, dict)
        if is_table and type(module) in by_name.values():
            found: type[nn.Module] | None = by_name.get(name)
            return found
    # ViT's and DeiT's tables name the module around the one that attends.
    step_by_step = own.replace("SdpaSelfAttention", "SelfAttention")
    return known.get(step_by_step) if name == "eager" and step_by_step != own else None


def says_it_has_sdpa(module: nn.Module) -> bool:
    """Whether a part of transformers says that it can attend in one fused call."""
    return bool(getattr(module, "_supports_sdpa", True))
