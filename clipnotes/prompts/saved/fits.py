"""Whether a prompt fits a model: it must compute what the one computed that it was learned with."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from clipnotes.checkpoints import Clip
from clipnotes.compat.weights import token_table
from clipnotes.prompts.saved import identity
from clipnotes.prompts.saved.card import model_name

# How far apart the probes of the same weights may be, relative to their length: other devices, and
# TF32, round differently. Every other dtype has half the precision or less.
SAME_WEIGHTS = {"float64": 5e-3, "float32": 5e-3}
HALF = 5e-2
# Different weights are taken only if they compute the same, so they have to be closer.
OTHER_WEIGHTS = 1e-4


def check_fits(clip: Clip, card: Mapping[str, Any]) -> None:
    """Raise unless a prompt was learned with a model that computes what this one does."""
    width = token_table(clip.model).embedding_dim
    mine, theirs = _name(model_name(clip)), _name(card["model"])
    if card["width"] != width:
        raise ValueError(
            f"the prompt has vectors of {card['width']} numbers (learned with {theirs}), and the "
            f"tokens of {mine} have {width}; load the model that it was learned with"
        )
    kinds = ("text",) if card["vision_tower"] is None else ("text", "vision")
    differences = [_check_tower(clip, kind, card) for kind in kinds]
    if card["tokens"] not in (None, identity.tokens_digest(clip.tokenizer, card["classnames"])):
        raise ValueError(
            f"the tokenizer of {mine} makes other tokens of the class names, or of two sentences, "
            f"than that of {theirs}, with which the prompt was learned; load that one"
        )
    for difference in filter(None, differences):
        warnings.warn(
            f"{difference}. Both compute the same, as when an adapter was merged, so the prompt is "
            "taken",
            stacklevel=3,
        )


def _check_tower(clip: Clip, kind: str, card: Mapping[str, Any]) -> str | None:
    """Check one tower; if it has different weights that compute the same, say so."""
    model, tower = clip.model, identity.tower_of(clip.model, kind)
    digest_of = identity.text_tower_digest if kind == "text" else identity.vision_tower_digest
    digest, wanted = digest_of(model), card[f"{kind}_tower"]
    mine, theirs = _name(model_name(clip)), _name(card["model"])
    difference = (
        f"the prompt was learned with the {kind} tower {wanted[:12]} of {theirs}; that of {mine} "
        f"is {digest[:12]}"
    )
    refusal = ValueError(
        f"{difference}. Load the model that it was learned with; one in half precision counts as "
        "another, so load the prompt before you call half()"
    )
    # Different weights may compute the same, and the probe tells; but it sees few of the tokens and
    # places in the tables in front of the layers, so these have to be the same.
    probed, same = kind in card["probe"], digest == wanted
    if not same and (not probed or card["tables"].get(kind) != identity.tables_digest(model, kind)):
        raise refusal
    _check_settings(kind, tower, card["settings"].get(kind, {}))
    if probed:
        off = identity.distance(identity.probe(model, kind), card["probe"][kind])
        if not same and not off <= OTHER_WEIGHTS:
            raise refusal
        dtypes = identity.dtype_of(model), str(card["probe"].get("dtype"))
        if not off <= max(SAME_WEIGHTS.get(dtype, HALF) for dtype in dtypes):
            raise ValueError(
                f"the {kind} tower of {mine} has the weights that the prompt was learned with, and "
                f"computes something else: its features differ by {off:.1g} of their length. Set "
                "what changes them as it was: adapters on or off, LoRA's alpha, a module that was "
                "replaced, a hook"
            )
    return None if same else difference


def _check_settings(kind: str, tower: Any, wanted: Mapping[str, Any]) -> None:
    settings = identity.settings(tower)
    for name, value in wanted.items():
        if name in settings and settings[name] != value:
            raise ValueError(
                f"the {kind} tower computes with {name} {settings[name]!r}, and the prompt was "
                f"learned with {value!r}: load the model with the configuration that it had then"
            )


def _name(name: str) -> str:
    return name or "a model without a name"
