"""The card of what a method learned: what it is for, where it came from, which model it fits."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipnotes.checkpoints import EMOJI_CLIP, EMOJI_SIGLIP, Clip
from clipnotes.compat.weights import token_table
from clipnotes.prompts.saved import identity

FORMAT = 2
# Their paths are others on every machine.
EMBEDDED = {EMOJI_CLIP: "Emoji-CLIP", EMOJI_SIGLIP: "Emoji-SigLIP"}

# What a card holds; what may be None is what the learner itself does not know or need.
FIELDS: dict[str, tuple[type, ...]] = {
    "format": (int,),
    "method": (str,),
    "options": (dict,),
    "model": (str,),
    "text_tower": (str,),
    "vision_tower": (str, type(None)),
    "settings": (dict,),
    "tables": (dict,),
    "probe": (dict,),
    "tokens": (str, type(None)),
    "width": (int,),
    "classnames": (list,),
    "shots": (int, type(None)),
    "seed": (int, type(None)),
    "scores": (dict,),
    "recipe": (dict,),
    "temperature": (float,),
    "versions": (dict,),
}
# The first cards did not have these yet. What a card does not say is not compared.
LATER: dict[str, Any] = {
    "recipe": {},
    "settings": {},
    "tables": {},
    "probe": {},
    "tokens": None,
    "temperature": 1.0,
}


def model_name(clip: Clip) -> str:
    """Name what ``clipnotes.load`` opens this model with, from wherever it is called."""
    name = str(clip.model.config.name_or_path or "")
    if name and Path(name).is_dir():
        path = Path(name).resolve()
        names = {folder.resolve(): said for folder, said in EMBEDDED.items()}
        return names.get(path, str(path))
    return name


def make_card(
    clip: Clip,
    *,
    method: str,
    options: Mapping[str, Any],
    classnames: Sequence[str],
    vision: bool = False,  # whether it also needs this very vision tower
    shots: int | None = None,
    seed: int | None = None,
    scores: Mapping[str, float] | None = None,
    recipe: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Say everything that using what was learned depends on, and how it came about."""
    for what, value in (("shots", shots), ("seed", seed)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{what} is {value!r}; give a whole number, or None")
    numbers = {str(name): _number(name, score) for name, score in (scores or {}).items()}
    for name, value in (recipe or {}).items():
        if not isinstance(value, (str, int, float)):
            raise TypeError(f"{name!r} in the recipe is {value!r}; give a text or a number")
    model, kinds = clip.model, ("text", "vision") if vision else ("text",)
    towers = {kind: identity.tower_of(model, kind) for kind in kinds}
    table = token_table(model)
    return {
        "format": FORMAT,
        "method": method,
        "options": dict(options),
        "model": model_name(clip),
        "text_tower": identity.text_tower_digest(model),
        "vision_tower": identity.vision_tower_digest(model) if vision else None,
        "settings": {kind: identity.settings(tower) for kind, tower in towers.items()},
        "tables": {kind: identity.tables_digest(model, kind) for kind in kinds},
        "probe": {"dtype": identity.dtype_of(model)}
        | {kind: identity.probe(model, kind) for kind in kinds},
        "tokens": identity.tokens_digest(clip.tokenizer, classnames),
        "width": table.embedding_dim,
        "classnames": list(classnames),
        "shots": shots,
        "seed": seed,
        "scores": numbers,
        "recipe": dict(recipe or {}),
        "temperature": _number("temperature", temperature),
        "versions": versions(),
    }


def _number(name: str, score: Any) -> float:
    try:
        number = float(score)
    except (TypeError, ValueError) as error:
        raise TypeError(f"the score {name!r} is {score!r}; give a number") from error
    if not math.isfinite(number):
        raise ValueError(f"the score {name!r} is {score!r}; give a finite number")
    return number


def check_card(file: Path, card: Any) -> dict[str, Any]:
    """Raise unless a card is whole; return it with every field that cards have now."""
    if not isinstance(card, dict) or not isinstance(card.get("format"), int):
        raise damaged(file, "its card says no format")
    if card["format"] != FORMAT:
        raise ValueError(
            f"{file} has the format {card['format']}, and this clipnotes reads {FORMAT}; "
            "open it with the clipnotes that wrote it"
        )
    card = LATER | card
    for name, types in FIELDS.items():
        value = card.get(name)
        if name not in card or not isinstance(value, types):
            raise damaged(file, f"its card says {name} {value!r}")
    if not 0 < card["temperature"] < math.inf:
        raise damaged(file, f"its card says temperature {card['temperature']!r}")
    if not all(isinstance(name, str) for name in card["classnames"]):
        raise damaged(file, "a class name on its card is no text")
    for kind in ("text", "vision"):
        numbers, of_tower = card["probe"].get(kind, []), card["settings"].get(kind, {})
        finite = isinstance(numbers, list) and all(type(n) in (int, float) for n in numbers)
        if not finite or not isinstance(of_tower, dict):
            raise damaged(file, f"its card says {numbers!r} and {of_tower!r} of the {kind} tower")
    return card


def damaged(file: Path, what: str) -> ValueError:
    """Make the error for a file that does not hold what it must."""
    return ValueError(f"{file} is damaged: {what}; save it again")


def versions(*more: str) -> dict[str, str]:
    """Name the versions of what computes, and of more packages."""

    def of(distribution: str) -> str:
        try:
            return version(distribution)
        except PackageNotFoundError:  # a checkout that is not installed
            return "not installed"

    ours = {"clipnotes": of("clipnotes-book"), "python": platform.python_version()}
    return ours | {name: of(name) for name in ("torch", "transformers", *more)}
