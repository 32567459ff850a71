"""Adapters in PEFT's own format: two files that ``PeftModel.from_pretrained`` opens by itself."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MISSING = (
    "what low-rank adapters are saved with is not installed: pip install "
    '"clipnotes-book[lora]", or pip install peft'
)


def no_peft() -> str | None:
    """Say what to do if PEFT is not installed, without importing it; else ``None``."""
    return MISSING if find_spec("peft") is None else None


def lora_config(**settings: Any) -> Any:
    """Make PEFT's own configuration of adapters."""
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ValueError(
            no_peft() or f"PEFT is installed and cannot be imported ({error}): pip install -U peft"
        ) from error
    return LoraConfig(**settings)


def adapter_files(config: Any, pairs: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, bytes]:
    """Make the content of PEFT's two files.

    Args:
        config: As ``lora_config`` makes it.
        pairs: The name of a module in the model -> its A, (rank, D), and its B, (D, rank).

    Returns:
        The name of each file -> its content.
    """
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)  # PEFT itself decides what stands in it
        content = (Path(folder) / CONFIG).read_bytes()
    tensors = {}
    for name, pair in pairs.items():
        for letter, tensor in zip("AB", pair, strict=True):
            value = tensor.detach().to("cpu").contiguous().clone()
            tensors[f"base_model.model.{name}.lora_{letter}.weight"] = value
    return {CONFIG: content, WEIGHTS: save(tensors, metadata={"format": "pt"})}
