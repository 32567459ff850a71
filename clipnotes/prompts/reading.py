"""Where a model reads a text out, and what stands around a text for its tokenizer."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipnotes.classnames import token_ids
from clipnotes.compat import family_of, text_tower
from clipnotes.compat.carried import end_rule
from clipnotes.compat.families.base import Reads
from clipnotes.model import eos_positions


def reads_of(model: nn.Module) -> Reads:
    """Say where a model reads a text out: at its "end", or always at the "first" or "last" place.

    Raises:
        TypeError: It belongs to a family that is not carried, or has no text tower.
        ValueError: It reads at the end and does not know its end token.
    """
    family = family_of(model)
    where = family.reads(model)
    if where == "end":
        end_rule(text_tower(model))  # raises if it has none
    family.token_table(model)  # raises if there is no text tower
    return where


def read_at(model: nn.Module, input_ids: Tensor) -> Tensor:
    """Find the places at which a model reads these texts out: (B, L) ids to (B,) places."""
    where = family_of(model).reads(model)
    if where == "end":
        return eos_positions(input_ids, *end_rule(text_tower(model)))
    place = 0 if where == "first" else input_ids.shape[1] - 1
    return torch.full(input_ids.shape[:1], place, device=input_ids.device)


class Around(NamedTuple):
    """What stands around a text.

    Attributes:
        before: The ids that the tokenizer puts in front of every text: the start, or none.
        behind: Those that it puts behind it: the end, or none.
        filler: The id that short texts are filled up with.
        placeholder: The id of an ordinary token, which keeps the place of a context vector.
    """

    before: list[int]
    behind: list[int]
    filler: int
    placeholder: int

    @property
    def special(self) -> set[int]:
        """The ids that may only stand around a text."""
        return {*self.before, *self.behind, self.filler}


def around(tokenizer: Any, reads: Reads) -> Around:
    """Find out what a tokenizer puts around a text, by what it makes of a word."""
    (bare,) = token_ids(tokenizer, ["x"])
    (whole,) = tokenizer(["x"], verbose=False)["input_ids"]
    n, length = len(whole) - len(bare), len(bare)
    starts = [i for i in range(n + 1) if list(whole[i : i + length]) == list(bare)]
    if not bare or not starts:
        raise ValueError(
            f"the tokenizer makes {list(bare)} of 'x' alone and {list(whole)} of 'x' as a text, "
            "and the second must be the first with special tokens around it: give the model's own"
        )
    before, behind = list(whole[: starts[0]]), list(whole[starts[0] + length :])
    pad = getattr(tokenizer, "pad_token_id", None)
    if reads == "end":
        if not behind:
            raise ValueError(
                "the tokenizer puts no end token behind a text, and this model reads a text out "
                "there: give the tokenizer that belongs to the model"
            )
        pad = behind[0]  # never looked at, whatever the tokenizer itself takes
    if reads == "first" and not before:
        raise ValueError(
            "the tokenizer puts no token in front of a text, and this model reads a text out "
            "there: give the tokenizer that belongs to the model"
        )
    if pad is None:
        raise ValueError(
            "the tokenizer has no padding token, and this model's texts are filled up with it: "
            "give the tokenizer that belongs to the model, or set tokenizer.pad_token"
        )
    found = Around(before, behind, int(pad), bare[-1])
    if found.placeholder in found.special:
        raise ValueError(
            f"the tokenizer makes the special token {found.placeholder} of 'x', and an ordinary "
            "one has to keep the places of the context: give the tokenizer of the model"
        )
    return found
