"""The card of what a method learned: what it is for, where it came from, which model it fits."""

from __future__ import annotations

import math
import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clipnotes.checkpoints import EMOJI_CLIP, Clip
from clipnotes.compat import text_tower, vision_tower
from clipnotes.compat.weights import token_table
from clipnotes.prompts.saved import identity

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
    "versions": (dict,),
}
# Format 1 knew one method, and had its options among the fields.
OLD_OPTIONS = ("n_ctx", "position", "per_class", "template")
# What cards had not at first; what they do not say is not compared.
LATER: dict[str, Any] = {"recipe": {}, "settings": {}, "tables": {}, "probe": {}, "tokens": None}

# How far the probes of the same weights may be apart, by the dtype: other devices, and TF32, round
# otherwise. Of other weights, that are told to compute the same, less.
SAME_WEIGHTS = {"float64": 5e-3, "float32": 5e-3}  # others are in half precision
HALF = 5e-2
OTHER_WEIGHTS = 1e-4


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
        "text_tower": identity.text_tower_digest(clip.model),
        "vision_tower": identity.vision_tower_digest(clip.model) if vision else None,
        "settings": _settings(clip, vision),
        "tables": _tables(clip, vision),
        "probe": _probe(clip, vision),
        "tokens": identity.tokens_digest(clip.tokenizer, classnames),
        "width": _width(clip),
        "classnames": list(classnames),
        "shots": shots,
        "seed": seed,
        "scores": numbers,
        "recipe": dict(recipe or {}),
        "versions": _versions(),
    }


def check_fits(clip: Clip, card: Mapping[str, Any]) -> None:
    """Raise unless a prompt was learned with a model that computes what this one does.

    Weights, settings and tokenizer must be those on the card, as far as the prompt depends on them,
    and the probe's features equal. Other weights in the layers with the same features, as a merged
    adapter gives, are taken with a warning.

    Args:
        clip: The model.
        card: Of the prompt.

    Raises:
        TypeError: The model has no such tower, or no projection of it.
        ValueError: Its token vectors have another width, or it computes something else.

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
    vision = card["vision_tower"] is not None
    digests = {"text": identity.text_tower_digest(clip.model)}
    if vision:
        digests["vision"] = identity.vision_tower_digest(clip.model)
    wanted = {kind: card[f"{kind}_tower"] for kind in digests}
    other = {kind for kind in digests if digests[kind] != wanted[kind]}
    said = {
        kind: f"the prompt was learned with the {kind} tower {wanted[kind][:12]} of {theirs}; "
        f"that of {mine} is {digests[kind][:12]}"
        for kind in digests
    }
    refused = (
        "Load the model that it was learned with; one in half precision counts as another, so "
        "load the prompt before you call half()"
    )
    probe = _probe(clip, vision) if card["probe"] else {}
    for kind in sorted(digests):
        if kind in other and not _probe_tells(clip, kind, card):
            raise ValueError(f"{said[kind]}. {refused}")
        _check_settings(kind, _tower(clip, kind), card["settings"].get(kind, {}))
        if kind not in card["probe"]:
            continue
        off = identity.distance(probe[kind], card["probe"][kind])
        limits = [SAME_WEIGHTS.get(str(p.get("dtype")), HALF) for p in (probe, card["probe"])]
        if not off <= (OTHER_WEIGHTS if kind in other else max(limits)):
            if kind in other:
                raise ValueError(f"{said[kind]}. {refused}")
            raise ValueError(
                f"the {kind} tower of {mine} has the weights that the prompt was learned with, and "
                f"computes something else: its features differ by {off:.1g} of their length. Set "
                "what changes them as it was: adapters on or off, LoRA's alpha, a module that was "
                "replaced, a hook"
            )
    if card["tokens"] not in (None, identity.tokens_digest(clip.tokenizer, card["classnames"])):
        raise ValueError(
            f"the tokenizer of {mine} makes other tokens of the class names, or of two sentences, "
            f"than that of {theirs}, with which the prompt was learned; load that one"
        )
    for kind in sorted(other):
        warnings.warn(
            f"{said[kind]}. Both compute the same, as when an adapter was merged, so the prompt is "
            "taken",
            stacklevel=3,
        )


def _probe_tells(clip: Clip, kind: str, card: Mapping[str, Any]) -> bool:
    """Say whether what the probe does not see, the tables, is the same."""
    if kind not in card["probe"]:
        return False
    return bool(card["tables"].get(kind) == identity.tables_digest(_tower(clip, kind)))


def _check_settings(kind: str, tower: Any, wanted: Mapping[str, Any]) -> None:
    found = identity.settings(tower)
    for name, value in wanted.items():
        if name in found and found[name] != value:
            raise ValueError(
                f"the {kind} tower computes with {name} {found[name]!r}, and the prompt was "
                f"learned with {value!r}: load the model with the configuration that it had then"
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
    card = LATER | card
    for name, types in FIELDS.items():
        value = card.get(name)
        if name not in card or not isinstance(value, types):
            raise damaged(file, f"its card says {name} {value!r}")
    if not all(isinstance(name, str) for name in card["classnames"]):
        raise damaged(file, "a class name on its card is no text")
    for kind in ("text", "vision"):
        numbers, of_tower = card["probe"].get(kind, []), card["settings"].get(kind, {})
        finite = isinstance(numbers, list) and all(type(n) in (int, float) for n in numbers)
        if not finite or not isinstance(of_tower, dict):
            raise damaged(file, f"its card says {numbers!r} and {of_tower!r} of the {kind} tower")
    return card


def damaged(file: Path, what: str) -> ValueError:
    """Make the error for a file that does not hold what it must.

    Example:
        >>> damaged(Path("prompt.safetensors"), "its card says no format")
        ValueError('prompt.safetensors is damaged: its card says no format; save it again')
    """
    return ValueError(f"{file} is damaged: {what}; save it again")


def _width(clip: Clip) -> int:
    return token_table(text_tower(clip.model)).embedding_dim


def _tower(clip: Clip, kind: str) -> Any:
    return text_tower(clip.model) if kind == "text" else vision_tower(clip.model)


def _settings(clip: Clip, vision: bool) -> dict[str, Any]:
    kinds = ("text", "vision") if vision else ("text",)
    return {kind: identity.settings(_tower(clip, kind)) for kind in kinds}


def _tables(clip: Clip, vision: bool) -> dict[str, str]:
    kinds = ("text", "vision") if vision else ("text",)
    return {kind: identity.tables_digest(_tower(clip, kind)) for kind in kinds}


def _probe(clip: Clip, vision: bool) -> dict[str, Any]:
    table = token_table(text_tower(clip.model))
    found: dict[str, Any] = {"dtype": str(table.weight.dtype).removeprefix("torch.")}
    found["text"] = identity.text_probe(clip.model)
    if vision:
        found["vision"] = identity.vision_probe(clip.model)
    return found


def _versions() -> dict[str, str]:
    def of(distribution: str) -> str:
        try:
            return version(distribution)
        except PackageNotFoundError:  # a checkout that is not installed
            return "not installed"

    found = {"clipnotes": of("clipnotes-book"), "python": platform.python_version()}
    return found | {name: of(name) for name in ("torch", "transformers")}
