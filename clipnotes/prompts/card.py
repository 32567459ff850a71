"""The card of a learned prompt: what it is for, where it came from, and whether a model fits it."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from clipnotes.checkpoints import EMOJI_CLIP, Clip
from clipnotes.compat import text_projection, text_tower
from clipnotes.prompts.layout import Position

FORMAT = 1
EMBEDDED = "Emoji-CLIP"  # its path is another one on every machine

# What a card holds; what may be None is what the learner itself does not know.
FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "model": (str,),
    "text_tower": (str,),
    "width": (int,),
    "n_ctx": (int,),
    "position": (str,),
    "per_class": (bool,),
    "template": (str,),
    "classnames": (list,),
    "shots": (int, type(None)),
    "seed": (int, type(None)),
    "scores": (dict,),
    "versions": (dict,),
}


def text_tower_digest(model: nn.Module) -> str:
    """SHA-256 of the text tower's weights and its projection, by name and value.

    The same weights give the same digest in every version of transformers, on every device, and in
    every dtype that holds the values: names count from the tower on, values count as float32.

    Args:
        model: ``CLIPModel`` or ``CLIPTextModelWithProjection``.

    Raises:
        TypeError: The model has no text tower, or no text projection.

    Example:
        >>> import clipnotes
        >>> text_tower_digest(clipnotes.load().model)[:8]
        'e1cc1e9f'
    """
    weights: dict[str, Tensor] = dict(text_tower(model).named_parameters())
    weights["text_projection.weight"] = text_projection(model).weight
    total = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        total.update(f"{name} {tuple(weight.shape)}\0".encode())
        values = weight.detach().to("cpu", torch.float32).contiguous().numpy()
        total.update(values.astype("<f4", copy=False).data)
    return total.hexdigest()


def model_name(clip: Clip) -> str:
    """What ``clipnotes.load`` opens this model with, from wherever it is called.

    Returns:
        "Emoji-CLIP" for the embedded one, an absolute path for a directory, else the hub id; empty
        for a model that was not loaded from anywhere.

    Example:
        >>> import clipnotes
        >>> model_name(clipnotes.load())
        'Emoji-CLIP'
    """
    name = str(getattr(clip.model.config, "_name_or_path", "") or "")
    if name and Path(name).is_dir():
        path = Path(name).resolve()
        return EMBEDDED if path == EMOJI_CLIP.resolve() else str(path)
    return name


def make_card(
    clip: Clip,
    ctx: Tensor,
    *,
    position: Position,
    template: str,
    classnames: Sequence[str],
    shots: int | None = None,
    seed: int | None = None,
    scores: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Say everything that using a context again depends on, and how it came about.

    Args:
        clip: The model that it was learned with.
        ctx: (n_ctx, D), or (n_classes, n_ctx, D).
        position: Where the name stands.
        template: The words around a name.
        classnames: The classes.
        shots: Pictures a class that it was learned from.
        seed: Of the training.
        scores: Name -> number, for instance accuracies.

    Returns:
        What JSON can hold.

    Raises:
        TypeError: Shots or seed is no whole number, or a score is no number.
        ValueError: A score is not finite.

    Example:
        >>> import clipnotes
        >>> prompt = {"position": "end", "template": "{}.", "classnames": ["rose", "tulip"]}
        >>> card = make_card(clipnotes.load(), torch.zeros(4, 128), **prompt, scores={"test": 0.5})
        >>> card["n_ctx"], card["per_class"], card["scores"]
        (4, False, {'test': 0.5})
    """
    for what, value in (("shots", shots), ("seed", seed)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{what} is {value!r}; give a whole number, or None")
    numbers: dict[str, float] = {}
    for name, score in (scores or {}).items():
        try:
            numbers[str(name)] = float(score)
        except (TypeError, ValueError) as error:
            raise TypeError(f"the score {name!r} is {score!r}; give a number") from error
        if not math.isfinite(numbers[str(name)]):
            raise ValueError(f"the score {name!r} is {score!r}; give a finite number")
    return {
        "format": FORMAT,
        "model": model_name(clip),
        "text_tower": text_tower_digest(clip.model),
        "width": ctx.shape[-1],
        "n_ctx": ctx.shape[-2],
        "position": position,
        "per_class": ctx.dim() == 3,
        "template": template,
        "classnames": list(classnames),
        "shots": shots,
        "seed": seed,
        "scores": numbers,
        "versions": _versions(),
    }


def check_fits(clip: Clip, card: Mapping[str, Any]) -> None:
    """Raise unless a prompt was learned with this model's text tower.

    Args:
        clip: The model.
        card: Of the prompt.

    Raises:
        TypeError: The model has no text tower, or no text projection.
        ValueError: Its token vectors have another width, or its weights are others.

    Example:
        >>> import clipnotes
        >>> prompt = {"position": "end", "template": "{}.", "classnames": ["rose"]}
        >>> clip = clipnotes.load()
        >>> check_fits(clip, make_card(clip, torch.zeros(4, 128), **prompt))
    """
    embeddings: Any = text_tower(clip.model).embeddings
    width = embeddings.token_embedding.embedding_dim
    mine = model_name(clip) or "a model without a name"
    theirs = card["model"] or "a model without a name"
    if card["width"] != width:
        raise ValueError(
            f"the prompt has vectors of {card['width']} numbers (learned with {theirs}), and the "
            f"tokens of {mine} have {width}; load the model that it was learned with"
        )
    digest = text_tower_digest(clip.model)
    if card["text_tower"] != digest:
        raise ValueError(
            f"the prompt was learned with the text tower {card['text_tower'][:12]} of {theirs}; "
            f"that of {mine} is {digest[:12]}. Load the model that it was learned with; one in "
            "half precision counts as another, so load the prompt before you call half()"
        )


def check_card(file: Path, ctx: Tensor, card: Any) -> None:
    """Raise unless a card is whole and describes this context.

    Args:
        file: Where both come from, for the message.
        ctx: The context.
        card: What was read.

    Raises:
        ValueError: Something is missing, is of another kind, or does not fit the context; or the
            format is another one.

    Example:
        >>> check_card(Path("prompt.safetensors"), torch.zeros(4, 128), {"format": 9})
        Traceback (most recent call last):
        ValueError: prompt.safetensors has the format 9, and this clipnotes reads 1; open it with\
...
    """

    def damaged(what: str) -> ValueError:
        return ValueError(f"{file} is damaged: {what}; save it again")

    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise damaged("its card says no format")
    if card["format"] != FORMAT:
        raise ValueError(
            f"{file} has the format {card['format']}, and this clipnotes reads {FORMAT}; "
            "open it with the clipnotes that wrote it"
        )
    for name, types in FIELDS.items():
        value = card.get(name)
        if name not in card or not isinstance(value, types):
            raise damaged(f"its card says {name} {value!r}")
    if not all(isinstance(name, str) for name in card["classnames"]):
        raise damaged("a class name on its card is no text")
    if card["position"] not in get_args(Position):
        raise damaged(f"its card says position {card['position']!r}")
    classes = [len(card["classnames"])] if card["per_class"] else []
    shape = (*classes, card["n_ctx"], card["width"])
    if tuple(ctx.shape) != shape:
        raise damaged(f"its context has the shape {tuple(ctx.shape)}, and its card says {shape}")
    if ctx.dtype != torch.float32 or not bool(ctx.isfinite().all()):
        raise damaged(f"its context is {ctx.dtype} and must be float32 and finite")


def _versions() -> dict[str, str]:
    def of(distribution: str) -> str:
        try:
            return version(distribution)
        except PackageNotFoundError:  # a checkout that is not installed
            return "not installed"

    found = {"clipnotes": of("clipnotes-book"), "python": platform.python_version()}
    return found | {name: of(name) for name in ("torch", "transformers")}
