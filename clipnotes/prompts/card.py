"""The card of what a method learned: what it is for, where it came from, which model it fits."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.checkpoints import EMOJI_CLIP, Clip
from clipnotes.compat import text_projection, text_tower, vision_tower, visual_projection

FORMAT = 2
EMBEDDED = "Emoji-CLIP"  # its path is another one on every machine

# What a card holds; what may be None is what the learner itself does not know or need.
FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "method": (str,),
    "options": (dict,),
    "model": (str,),
    "text_tower": (str,),
    "vision_tower": (str, type(None)),
    "width": (int,),
    "classnames": (list,),
    "shots": (int, type(None)),
    "seed": (int, type(None)),
    "scores": (dict,),
    "recipe": (dict,),
    "versions": (dict,),
}
# Format 1 knew one method, and had its options among the fields.
OLD_OPTIONS = ("n_ctx", "position", "per_class", "template")


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
    return _digest(weights)


def vision_tower_digest(model: nn.Module) -> str:
    """SHA-256 of the vision tower's weights and its projection, as ``text_tower_digest``.

    Args:
        model: ``CLIPModel`` or ``CLIPVisionModelWithProjection``.

    Raises:
        TypeError: The model has no vision tower, or no visual projection.

    Example:
        >>> import clipnotes
        >>> len(vision_tower_digest(clipnotes.load().model))
        64
    """
    weights: dict[str, Tensor] = dict(vision_tower(model).named_parameters())
    weights["visual_projection.weight"] = visual_projection(model).weight
    return _digest(weights)


def _digest(weights: Mapping[str, Tensor]) -> str:
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
    name = str(clip.model.config.name_or_path or "")
    if name and Path(name).is_dir():
        path = Path(name).resolve()
        return EMBEDDED if path == EMOJI_CLIP.resolve() else str(path)
    return name


def make_card(
    clip: Clip,
    *,
    method: str,
    options: Mapping[str, Any],
    classnames: Sequence[str],
    vision: bool = False,
    shots: int | None = None,
    seed: int | None = None,
    scores: Mapping[str, float] | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Say everything that using what was learned depends on, and how it came about.

    Args:
        clip: The model that it was learned with.
        method: By what; a key of ``methods.METHODS``.
        options: What that method's class needs to be made again, as JSON can hold it.
        classnames: The classes.
        vision: It also needs this very vision tower.
        shots: Pictures a class that it was learned from.
        seed: Of the training.
        scores: Name -> number, for instance accuracies.
        recipe: Name -> text or number: how it was trained, for readers.

    Returns:
        What JSON can hold.

    Raises:
        TypeError: Shots or seed is no whole number, a score is no number, or something in the
            recipe is neither a text nor a number.
        ValueError: A score is not finite.

    Example:
        >>> import clipnotes
        >>> prompt = {"method": "coop", "options": {"n_ctx": 4}, "classnames": ["rose", "tulip"]}
        >>> card = make_card(clipnotes.load(), **prompt, scores={"test": 0.5})
        >>> card["options"], card["vision_tower"], card["scores"]
        ({'n_ctx': 4}, None, {'test': 0.5})
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
    for name, said in (recipe or {}).items():
        if not isinstance(said, (str, int, float)):
            raise TypeError(f"{name!r} in the recipe is {said!r}; give a text or a number")
    return {
        "format": FORMAT,
        "method": method,
        "options": dict(options),
        "model": model_name(clip),
        "text_tower": text_tower_digest(clip.model),
        "vision_tower": vision_tower_digest(clip.model) if vision else None,
        "width": _width(clip),
        "classnames": list(classnames),
        "shots": shots,
        "seed": seed,
        "scores": numbers,
        "recipe": dict(recipe or {}),
        "versions": _versions(),
    }


def check_fits(clip: Clip, card: Mapping[str, Any]) -> None:
    """Raise unless a prompt was learned with this model's towers, those that it depends on.

    Args:
        clip: The model.
        card: Of the prompt.

    Raises:
        TypeError: The model has no such tower, or no projection of it.
        ValueError: Its token vectors have another width, or its weights are others.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> check_fits(clip, make_card(clip, method="coop", options={}, classnames=["rose"]))
    """
    width = _width(clip)
    mine = model_name(clip) or "a model without a name"
    theirs = card["model"] or "a model without a name"
    if card["width"] != width:
        raise ValueError(
            f"the prompt has vectors of {card['width']} numbers (learned with {theirs}), and the "
            f"tokens of {mine} have {width}; load the model that it was learned with"
        )
    digests = {"text tower": (card["text_tower"], text_tower_digest(clip.model))}
    if card["vision_tower"] is not None:
        digests["vision tower"] = (card["vision_tower"], vision_tower_digest(clip.model))
    for tower, (wanted, found) in digests.items():
        if wanted != found:
            raise ValueError(
                f"the prompt was learned with the {tower} {wanted[:12]} of {theirs}; that of "
                f"{mine} is {found[:12]}. Load the model that it was learned with; one in half "
                "precision counts as another, so load the prompt before you call half()"
            )


def check_card(file: Path, card: Any) -> dict[str, Any]:
    """Raise unless a card is whole.

    Args:
        file: Where it comes from, for the message.
        card: What was read.

    Returns:
        The card; one of an older format as it would be written now.

    Raises:
        ValueError: Something is missing or of another kind, or the format is not known.

    Example:
        >>> check_card(Path("prompt.safetensors"), {"format": 9})
        Traceback (most recent call last):
        ValueError: prompt.safetensors has the format 9, and this clipnotes reads 1 and 2; open it\
...
    """
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise damaged(file, "its card says no format")
    if card["format"] not in (1, FORMAT):
        raise ValueError(
            f"{file} has the format {card['format']}, and this clipnotes reads 1 and {FORMAT}; "
            "open it with the clipnotes that wrote it"
        )
    if card["format"] == 1:
        options = {name: card[name] for name in OLD_OPTIONS if name in card}
        card = {name: value for name, value in card.items() if name not in OLD_OPTIONS}
        card |= {"format": FORMAT, "method": "coop", "options": options, "vision_tower": None}
    card = {"recipe": {}} | card  # cards had none at first
    for name, types in FIELDS.items():
        value = card.get(name)
        if name not in card or not isinstance(value, types):
            raise damaged(file, f"its card says {name} {value!r}")
    if not all(isinstance(name, str) for name in card["classnames"]):
        raise damaged(file, "a class name on its card is no text")
    return card


def damaged(file: Path, what: str) -> ValueError:
    """Make the error for a file that does not hold what it must.

    Example:
        >>> damaged(Path("prompt.safetensors"), "its card says no format")
        ValueError('prompt.safetensors is damaged: its card says no format; save it again')
    """
    return ValueError(f"{file} is damaged: {what}; save it again")


def _width(clip: Clip) -> int:
    embeddings: Any = text_tower(clip.model).embeddings
    return embeddings.token_embedding.embedding_dim


def _versions() -> dict[str, str]:
    def of(distribution: str) -> str:
        try:
            return version(distribution)
        except PackageNotFoundError:  # a checkout that is not installed
            return "not installed"

    found = {"clipnotes": of("clipnotes-book"), "python": platform.python_version()}
    return found | {name: of(name) for name in ("torch", "transformers")}
