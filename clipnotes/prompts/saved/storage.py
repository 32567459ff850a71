"""What was learned, on disk: a folder with one safetensors file, its card in the header.

What belongs together stands in one file, so one rename replaces it. ``card.json`` is a copy of the
card for readers; nothing reads it back. Nor is anything read back of the files that a method puts
beside it for other programs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from clipnotes.files import remove_strays, write_atomically
from clipnotes.prompts.saved.adapter import CONFIG, WEIGHTS
from clipnotes.prompts.saved.card import check_card, damaged

FILE, COPY = "prompt.safetensors", "card.json"
ADAPTER = (CONFIG, WEIGHTS)  # what may stand beside it, made from it
KEY = "clipnotes.prompt"


def check_folder(folder: str | os.PathLike[str], force: bool) -> Path:
    """Check that a prompt may be written to a folder; it need not be there yet."""
    path = Path(folder).expanduser()
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError(f"{path} is a file; a prompt is a folder, so give another name")
    there = [name for name in (FILE, COPY, *ADAPTER) if (path / name).exists()]
    if there and not force:
        raise ValueError(
            f"{path} already holds {there[0]}; give another folder, or force to replace it"
        )
    return path


def write_prompt(
    folder: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any],
    *,
    force: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write what was learned; a kill at any moment leaves the old one or the new one.

    PEFT's files, which come ``beside`` some prompts, belong to the prompt that is there: those of
    one that is replaced are taken away first, and the new ones are written last.
    """
    beside = beside or {}
    path = check_folder(folder, force)
    content = pack(tensors, card)
    path.mkdir(parents=True, exist_ok=True)
    for name in (FILE, COPY, *ADAPTER):
        remove_strays(path / name)
    if (path / FILE).exists() or beside:
        for name in ADAPTER:
            (path / name).unlink(missing_ok=True)
    write_atomically(path / FILE, content)
    write_atomically(path / COPY, readable(card))
    for name, other in beside.items():
        write_atomically(path / name, other)


def pack(tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> bytes:
    """Make the one file that holds the tensors and the card."""
    values = {}
    for name, tensor in tensors.items():
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        # Each gets a memory of its own: safetensors refuses tensors that share it.
        values[name] = tensor.detach().to("cpu", dtype).contiguous().clone()
        if not bool(values[name].isfinite().all()):
            raise ValueError(f"{name} is not finite, so nothing is saved; train it again")
    return save(values, metadata={KEY: json.dumps(dict(card), allow_nan=False)})


def readable(card: Mapping[str, Any]) -> bytes:
    """Make the copy of a card that is for readers."""
    copy = json.dumps({"note": f"a copy of what {FILE} holds", **card}, indent=2)
    return (copy + "\n").encode()


def read_prompt(folder: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the card of what was learned; nothing is unpickled."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ValueError(f"no folder {path}; give one that a learner's save has written")
    file = path / FILE
    if not file.is_file():
        raise ValueError(f"no prompt in {path}: {FILE} is missing")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        card = json.loads(metadata[KEY])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{file} is no prompt of clipnotes, or is damaged ({error!r}); save it again"
        ) from error
    card = check_card(file, card)
    for name, tensor in tensors.items():
        floats = tensor.is_floating_point()
        if (floats and tensor.dtype != torch.float32) or not bool(tensor.isfinite().all()):
            raise damaged(file, f"{name} is {tensor.dtype} and must be float32 and finite")
    return tensors, card
