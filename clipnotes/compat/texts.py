"""Texts become ids, written and padded as those that a model was trained with."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clipnotes.compat.families import family_of


def read_tokenizer(name: str, model_type: str) -> Any:
    """Read a tokenizer, and set it to what the model was trained with where its files do not.

    SigLIP 2 was trained with small letters (Tschannen et al. 2025), filled up on the
    right. Its files name Gemma's tokenizer, which keeps capitals and pads on the left.

    Args:
        name: A directory, or a hub id.
        model_type: What the config.json beside it says.

    Example:
        >>> from clipnotes.checkpoints import EMOJI_CLIP
        >>> read_tokenizer(str(EMOJI_CLIP), "clip").padding_side
        'right'
    """
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    tokenizer.padding_side = "right"
    if model_type == "siglip" and type(tokenizer).__name__.startswith("Gemma"):
        from tokenizers import normalizers

        inside = tokenizer.backend_tokenizer
        before = [] if inside.normalizer is None else [inside.normalizer]
        inside.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    return tokenizer


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
    # Some pad on the left unless they are told: see above.
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
        ids, filler = encoded["input_ids"], tokenizer.pad_token_id
        return {"input_ids": F.pad(ids, (0, limit - ids.shape[1]), value=filler)}  # (B, limit)
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
