"""What the questions to a version of transformers share: how to answer, and small sizes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
VISION: dict[str, Any] = {**SMALL, "image_size": 16, "patch_size": 8, "projection_dim": 8}


def kind(value: object) -> str:
    """What a returned thing is, in words: 'Tensor', 'tuple of 3', 'None', or the class's name."""
    if isinstance(value, tuple) and type(value) is tuple:
        inside = ", ".join(dict.fromkeys(kind(v) for v in value))
        return f"tuple of {len(value)}" + (f": {inside}" if inside else "")
    return "None" if value is None else type(value).__name__


def attempt(call: Callable[[], object], say: Callable[[object], str] = kind) -> str:
    """What a call returns, or the error that it raises, in words."""
    try:
        return say(call())
    except Exception as error:
        # A module prints itself over many lines; its class says enough.
        said = re.sub(r"\(\n.*\n\)", "(...)", str(error), flags=re.DOTALL)
        return f"{type(error).__name__}: {said}"
