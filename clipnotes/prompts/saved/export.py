"""Take a classifier home: a folder that names images without clipnotes or transformers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from safetensors.torch import save
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.compat import shared_width
from clipnotes.files import write_folder
from clipnotes.model import unit_length
from clipnotes.prompts.saved import identity, onnx_file
from clipnotes.prompts.saved.card import model_name, versions
from clipnotes.prompts.saved.head import Head, check_same
from clipnotes.prompts.saved.home import classify, serve
from clipnotes.prompts.saved.preprocessing import written_down

To = Literal["onnx", "safetensors"]
CARD = "classifier.json"
PROGRAMS = {"onnx": Path(serve.__file__), "safetensors": Path(classify.__file__)}
OURS = {CARD, *(f"classifier.{to}" for to in PROGRAMS), *(p.name for p in PROGRAMS.values())}
FORMULA = "scale * features @ class_vectors.T + bias"
CACHE = " + alpha * exp(-beta * (1 - features @ keys.T)) @ values"


class Exportable(Protocol):
    """What an export asks of a classifier."""

    clip: Clip
    classnames: list[str]
    temperature: float
    OPTIONS: ClassVar[Mapping[str, type]]

    @property
    def takes_pixels(self) -> bool:
        """Whether it has an eye of its own."""

    def logits(self, inputs: Tensor, /) -> Tensor:
        """Compare images with every class."""

    def head(self) -> Head:
        """Say what is left once the classes are fixed."""

    def seeing(self) -> AbstractContextManager[None]:
        """Change the vision tower to what the classifier sees with."""


def check_export(folder: str | os.PathLike[str], to: str, force: bool) -> Path:
    """Check all that can be checked before a model is there."""
    if to not in PROGRAMS:
        raise ValueError(f"to is {to!r}; give {' or '.join(map(repr, get_args(To)))}")
    path = Path(folder).expanduser().absolute()
    if os.path.lexists(path) and not path.is_dir():
        raise ValueError(f"{path} is a file; an export is a folder, so give another name")
    there = sorted(file.name for file in path.iterdir()) if path.exists() else []
    if there and not force:
        raise ValueError(
            f"{path} already holds {there[0]}; give another folder, or force to replace an export"
        )
    if strangers := sorted({*there} - OURS - {"__pycache__"}):
        raise ValueError(
            f"{path} holds {strangers[0]}, which is no part of an export, and replacing the folder "
            "would delete it; give another folder"
        )
    if to == "onnx":
        onnx_file.check_installed()
    return path


def export(
    classifier: Exportable, folder: str | os.PathLike[str], to: To = "onnx", force: bool = False
) -> None:
    """Write the folder, see ``Classifier.export``."""
    path, clip = check_export(folder, to, force), classifier.clip
    if classifier.takes_pixels and to == "safetensors":
        raise ValueError(
            f"{type(classifier).__name__} changes the vision tower, so image features from "
            "anywhere else are not those that it compares: export it to 'onnx', tower included"
        )
    if clip.model.dtype != torch.float32:
        raise ValueError(
            f"the model is in {clip.model.dtype}, and an export is in float32: call "
            "clip.model.float() first"
        )
    preprocessing = written_down(clip)
    with identity.as_in_use(clip.model, clip.model.device):
        try:
            head = classifier.head().over(classifier.temperature)
        except ValueError as error:
            raise ValueError(f"{type(classifier).__name__} cannot be exported: {error}") from error
        if to == "onnx":
            content, told = onnx_file.make(classifier, head)
        else:
            _check_head(classifier, head)
            content, told = _features_in(head)
    program = PROGRAMS[to]
    card = {
        "note": f"made by clipnotes; {program.name}, beside this, shows how to use it",
        "format": 1,
        "file": f"classifier.{to}",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "labels": classifier.classnames,
        "method": getattr(classifier, "method", type(classifier).__name__),
        "options": {name: getattr(classifier, name) for name in classifier.OPTIONS},
        "temperature": classifier.temperature,  # scale and bias have been divided by it
        "scale": float(head.get_buffer("scale")),
        "bias": head.get_buffer("bias").tolist(),
        **told,
        "preprocessing": preprocessing,
        "model": {
            "name": model_name(clip),
            "vision_tower": identity.vision_tower_digest(clip.model),
        },
        "versions": versions(*(onnx_file.PACKAGES if to == "onnx" else ("safetensors",))),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    written = {card["file"]: content, CARD: text.encode(), program.name: program.read_bytes()}
    write_folder(path, written)


def _features_in(head: Head) -> tuple[bytes, dict[str, Any]]:
    """Make the safetensors file, and what the card says of it."""
    tensors = {name: t.cpu().contiguous().clone() for name, t in head.named_buffers()}
    n_classes, width = tensors["class_vectors"].shape
    told = {
        "inputs": {"features": {"shape": ["batch", width], "dtype": "float32", "length": 1}},
        "logits": FORMULA + CACHE * ("keys" in tensors),
        "probabilities": "softmax of the logits",
        "outputs": {"logits": {"shape": ["batch", n_classes], "dtype": "float32"}},
        "tensors": {name: list(tensor.shape) for name, tensor in tensors.items()},
    }
    return save(tensors), told


def _check_head(classifier: Exportable, head: Head) -> None:
    """Compare a head with the classifier that it comes from, on features that it has not seen."""
    model, draw = classifier.clip.model, torch.Generator().manual_seed(1)
    some = torch.randn(8, shared_width(model), generator=draw, device="cpu")
    features = unit_length(some).to(model.device)
    wanted = classifier.logits(features) / classifier.temperature
    check_same(wanted, head(features).softmax(dim=-1), "what was read off")
