"""Names of classes: one each, and each another one to the tokenizer that reads it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

# CLIP's own list for ImageNet has "missile" twice, and "sunglasses".
_APART = "for instance by a word behind it, as in 'missile (projectile)'"


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Tokenize texts, at least one, without start and end."""
    return tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]


def check_classnames(classnames: Sequence[str], tokenizer: Any = None) -> list[str]:
    """Return the names as a list, if they differ, and also in the tokens of a tokenizer."""
    if isinstance(classnames, str):
        raise TypeError(f"one name was given for all classes: give a list, [{classnames!r}]")
    names, seen = list(classnames), dict[str, int]()
    if not names:
        raise ValueError("no class was given: give at least one name")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise TypeError(f"class {i} is a {type(name).__name__}: give strings")
        if not name.strip():
            raise ValueError(f"class {i} is {name!r}: give a name that is not blank")
        if not name.isprintable() and any(unicodedata.category(c) == "Cs" for c in name):
            raise ValueError(f"class {i} is {name!r}, which is no valid text: give another name")
        if name in seen:
            raise ValueError(
                f"{name!r} is class {seen[name]} and class {i}: give every class a name of its "
                f"own, {_APART}"
            )
        seen[name] = i
    if tokenizer is not None:
        _check_tokens_differ(names, tokenizer)
    return names


def _check_tokens_differ(names: list[str], tokenizer: Any) -> None:
    # CLIP's tokenizer makes all letters small: "Grapes" and "grapes" are one text with one feature.
    seen: dict[tuple[int, ...], int] = {}
    for i, ids in enumerate(map(tuple, token_ids(tokenizer, names))):
        j = seen.setdefault(ids, i)
        if j != i:
            raise ValueError(
                f"class {j}, {written(names[j], names[i])}, and class {i}, "
                f"{written(names[i], names[j])}, are the same tokens to this model, so one of the "
                "two would never be said: join them, or give each a name of its own, " + _APART
            )


def written(name: str, other: str) -> str:
    """Quote a name so that it can be told from another one, which may look the same."""
    alike = unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", other)
    return ascii(name) if alike and name != other else repr(name)
