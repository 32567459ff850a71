"""Open a two-tower model of any family, from a directory or the hub. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clipnotes.compat.quiet import quiet


def open_model(name: str) -> tuple[Any, Any, str]:
    """Open a model and its tokenizer with transformers' Auto classes.

    Args:
        name: A directory, as ``save_pretrained`` writes it, or a hub id.

    Returns:
        The model, its tokenizer or ``None``, and a note that says why there is none.

    Raises:
        ValueError: There is no such model, it has no safetensors, or its weights do not fit it.

    Example:
        >>> from clipnotes.checkpoints import EMOJI_CLIP
        >>> model, tokenizer, note = open_model(str(EMOJI_CLIP))
        >>> type(model).__name__, note
        ('CLIPModel', '')
    """
    _check_folder(name)
    from transformers import AutoModel, AutoTokenizer

    # Without the last one, a model that brings code of its own asks on the terminal.
    ways: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False}
    with quiet():
        try:
            model, report = AutoModel.from_pretrained(name, output_loading_info=True, **ways)
        except Exception as error:  # transformers raises anything on a damaged file
            raise ValueError(
                f"no model {name!r} can be opened: {_first_line(error)}. Give a directory with "
                "config.json and model.safetensors, or a hub id that you can reach"
            ) from error
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            note = ""
        except Exception as error:
            tokenizer, note = None, f"no tokenizer in {name}: {_first_line(error)}"
    missing = sorted(key for key in report["missing_keys"] if not key.endswith("position_ids"))
    if missing:
        raise ValueError(
            f"the weights in {name} lack {len(missing)} tensors of a {type(model).__name__} "
            f"({', '.join(missing[:3])}, ...), which would be random. Fetch the model again, or "
            "give one whose config.json is its own"
        )
    return model, tokenizer, note


def _check_folder(name: str) -> None:
    folder = Path(name)
    if not folder.is_dir():
        if folder.exists():
            raise ValueError(f"{name} is a file; give the directory that it is in, or a hub id")
        return
    if not (folder / "config.json").is_file():
        raise ValueError(f"{name} has no config.json, so it is no model; give a model's directory")
    if not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{name} has no .safetensors file, and clipnotes unpickles nothing. Write one with "
            "model.save_pretrained where you trust the file, and give that directory"
        )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
