"""Texts become ids, padded as the model that reads them was trained."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from clipnotes.compat.families import family_of


def tokenize(model: nn.Module, tokenizer: Any, texts: Sequence[str]) -> dict[str, Tensor]:
    """Make the inputs of a model's text tower, as ``Clip.tokenize`` describes them.

    Args:
        model: A two-tower model of any family that is carried.
        tokenizer: The one that belongs to it.
        texts: Strings.

    Returns:
        input_ids (B, L) and, unless the model reads the last position, attention_mask (B, L).

    Raises:
        TypeError, ValueError: As ``Clip.tokenize``.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> sorted(tokenize(clip.model, clip.tokenizer, ["a tulip"]))
        ['attention_mask', 'input_ids']
    """
    if isinstance(texts, str):
        raise TypeError(f"one text was given; give a list: [{texts!r}]")
    if not hasattr(texts, "__len__"):
        raise TypeError(f"a {type(texts).__name__} was given; give a list of strings")
    if len(texts) == 0:
        raise ValueError("no text was given; at least one is needed")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {i} is a {type(text).__name__}; strings are needed")
    family = family_of(model)
    limit = family.n_positions(model)
    # A tokenizer of Gemma's kind, as SigLIP 2 has it, pads on the left unless it is told.
    how: dict[str, Any] = {"return_tensors": "pt", "return_attention_mask": True}
    how |= {"padding_side": "right", "verbose": False}
    encoded = tokenizer(list(texts), padding=True, **how)
    lengths = encoded["attention_mask"].sum(1)
    if int(lengths.max()) > limit:
        i = int(lengths.argmax())
        raise ValueError(
            f"text {i} ({texts[i][:60]!r}) has {int(lengths[i])} tokens, and this model has "
            f"{limit} positions; shorten it"
        )
    if family.reads(model) == "last":  # no mask: it was trained to see the padding
        full = tokenizer(list(texts), padding="max_length", max_length=limit, **how)
        return {"input_ids": full["input_ids"]}
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
