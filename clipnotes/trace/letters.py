"""Letters for sizes: (2, 65, 128) reads as (B, L, D) to whoever knows what is what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clipnotes.trace.calls import Value

#: What configurations of transformers call a size, and the letter that this book has for it.
_OF_CONFIGS = {"hidden_size": "D", "projection_dim": "P"}


def letters_for(
    names: Mapping[str, int] | None, config: Any, arguments: Mapping[str, Value]
) -> dict[str, int]:
    """Choose a letter for each size that is known.

    Args:
        names: Letter -> size, as the caller wants it; these come first.
        config: The module's configuration, if it has one.
        arguments: Name -> value, of the call. The first tensor's first size is the batch, ``B``.

    Returns:
        Letter -> size. No two letters have the same size: of two, the first one counts.

    Raises:
        TypeError, ValueError: As :func:`check_names` does.

    Example:
        >>> letters_for({"T": 7}, None, {})
        {'T': 7}
    """
    letters = check_names(names)

    def add(letter: str, size: Any) -> None:
        # A size of 1 is everywhere, and would make of every 1 a letter.
        if isinstance(size, int) and size > 1 and size not in letters.values():
            letters.setdefault(letter, size)

    for name, letter in _OF_CONFIGS.items():
        add(letter, getattr(config, name, None))
    patch, image = (getattr(config, name, None) for name in ("patch_size", "image_size"))
    if isinstance(patch, int) and isinstance(image, int):
        patches = (image // patch) ** 2
        # Where an image has as many patches as pixels along a side, a size does not tell which.
        add("N", patches if patches != image else None)
        add("L", patches + 1)  # tokens: the class token and the patches
    for value in arguments.values():
        if value.shape:
            add("B", value.shape[0])
            break
    return letters


def check_names(names: Any) -> dict[str, int]:
    """Refuse what cannot be letters for sizes.

    Raises:
        TypeError: No dict, a letter that is no text, or a size that is no whole number.
        ValueError: A size below 1, or one that two letters are given for.
    """
    if names is not None and not isinstance(names, Mapping):
        raise TypeError(f'names must be a dict of letters and sizes, as {{"T": 7}}, not {names!r}')
    letters: dict[str, int] = {}
    for letter, size in (names or {}).items():
        if not isinstance(letter, str) or not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"names has {letter!r}: {size!r}; give letters and whole numbers")
        if size < 1:
            raise ValueError(f"names gives {letter!r} the size {size}; give sizes from 1 on")
        if size in letters.values():
            other = next(one for one, known in letters.items() if known == size)
            raise ValueError(
                f"names gives {other!r} and {letter!r} the same size, {size}, and a shape does not "
                "tell which is meant; leave one of them out"
            )
        letters[letter] = size
    return letters


def shape_text(shape: list[int] | tuple[int, ...], letters: Mapping[str, int]) -> str:
    """Write a shape with letters.

    ``B``, the batch, stands for a first size only: a batch of three would otherwise make a letter
    of the three channels, and one of twelve a letter of the heads.

    Example:
        >>> shape_text((3, 3, 64, 128), {"B": 3, "D": 128})
        '(B, 3, 64, D)'
    """
    of_size = {size: letter for letter, size in letters.items()}
    sizes = [of_size.get(size, str(size)) for size in shape]
    sizes[1:] = [str(letters["B"]) if size == "B" else size for size in sizes[1:]]
    return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"
