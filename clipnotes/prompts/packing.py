"""Which tokens of the prompts have to be computed at all, and in what order they are packed.

The text tower is causal and is read out at EOS. So what follows EOS never matters, and what all
prompts begin with is the same for all: it is computed once, and every class looks back at it. The
rest of a prompt falls in two. Before its first context vector nothing depends on the context: the
**head**. From there, or from where the prompts part, to EOS: the **tail**. With a shared context
in front of the names::

    common                              tail of each class
    start x x x x x x x x x x x x x x   tulip . end
                                        steam loco motive . end

and with the names in front of it::

    common   head of each class         tail of each class
    start    tulip                      x x x x x x x x . end
             steam loco motive          x x x x x x x x . end

Tails of all classes stand behind each other in one matrix without padding, those of one length
together: attention can then look at a group as a dense block. No model in this file.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from clipnotes.prompts.layout import Layout
from clipnotes.prompts.substitute import check_end


class Group(NamedTuple):
    """Sequences of one length that stand behind each other in a ``Stretch``.

    Attributes:
        n: How many.
        length: Tokens in each.
        head: Tokens in the head of each, which they look back at.
    """

    n: int
    length: int
    head: int


@dataclass(frozen=True, eq=False)
class Stretch:
    """A stretch of the prompts, packed: T tokens of several sequences.

    Attributes:
        ids: (T,) int64, tokens.
        places: (T,) int64, where each stands in its prompt.
        ctx_rows: (K,) int64, rows that a context vector takes.
        ctx_index: (K,) int64, which vector: a row of the context, flattened if it is per class.
        ends: (n,) int64, the last row of each sequence.
        groups: The sequences, in the order of the rows.
    """

    ids: Tensor
    places: Tensor
    ends: Tensor
    ctx_rows: Tensor
    ctx_index: Tensor
    groups: tuple[Group, ...]


class Chunk(NamedTuple):
    """Classes that are computed at once: their heads, unless all are empty, and their tails."""

    head: Stretch | None
    tail: Stretch


@dataclass(frozen=True, eq=False)
class Packing:
    """All prompts, packed.

    Attributes:
        common: What every prompt begins with, as one sequence; at least the start token.
        chunks: The rest.
        rank: (n_classes,) int64, where each class stands in the order of the chunks.
    """

    common: Stretch
    chunks: tuple[Chunk, ...]
    rank: Tensor


@lru_cache(maxsize=16)
def pack(layout: Layout, per_class: bool, max_tokens: int, device: torch.device) -> Packing:
    """Pack the prompts of all classes; the same arguments get the same object.

    Args:
        layout: The prompts.
        per_class: The context is not the same for all.
        max_tokens: In heads and tails of a chunk; a chunk has one class at least.
        device: Where the indices are wanted.

    Raises:
        ValueError: A prompt ends where a context vector stands.

    Example:
        >>> import clipnotes
        >>> tokenizer = clipnotes.load().tokenizer
        >>> layout = Layout.build(tokenizer, ["dog", "tulip"], 4, limit=32)
        >>> packing = pack(layout, False, 1000, torch.device("cpu"))
        >>> packing.common.groups
        (Group(n=1, length=5, head=0),)
        >>> packing.chunks[0].tail.groups
        (Group(n=1, length=3, head=0), Group(n=1, length=4, head=0))
    """
    check_end(layout.ctx_positions, layout.eos)
    slots = _slots(layout, per_class)  # (n_classes, length)
    n_common = _count_common(layout, slots, per_class)
    first = layout.ctx_positions.min(dim=1).values  # (n_classes,)
    heads = (first - n_common).clamp(min=0)
    tails = layout.eos + 1 - n_common - heads  # at least 1, the end token

    def stretch(classes: Tensor, starts: Tensor, lengths: Tensor, heads: Tensor) -> Stretch:
        owner = classes.repeat_interleave(lengths)  # (T,)
        before = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        places = torch.arange(len(owner)) - before + starts.repeat_interleave(lengths)
        index = slots[owner, places]
        rows = (index >= 0).nonzero().squeeze(1)
        kinds, counts = torch.stack([lengths, heads], 1).unique_consecutive(
            dim=0, return_counts=True
        )
        return Stretch(
            ids=layout.input_ids[owner, places].to(device),
            places=places.to(device),
            ends=(lengths.cumsum(0) - 1).to(device),
            ctx_rows=rows.to(device),
            ctx_index=index[rows].to(device),
            groups=tuple(
                Group(n, length, head)
                for (length, head), n in zip(kinds.tolist(), counts.tolist(), strict=True)
                if length  # some heads may be empty, no tail is
            ),
        )

    order = (tails * (int(heads.max()) + 1) + heads).argsort(stable=True)
    chunks = []
    for classes in _split(order, (heads + tails)[order].tolist(), max_tokens):
        own, rest = heads[classes], tails[classes]
        start = torch.full_like(own, n_common)
        head = stretch(classes, start, own, torch.zeros_like(own)) if int(own.max()) else None
        chunks.append(Chunk(head, stretch(classes, start + own, rest, own)))
    zero = torch.zeros(1, dtype=torch.int64)
    return Packing(
        common=stretch(zero, zero, zero + n_common, zero),
        chunks=tuple(chunks),
        rank=order.argsort().to(device),
    )


def _slots(layout: Layout, per_class: bool) -> Tensor:
    """Number the context's places: (n_classes, length), -1 where a token stands."""
    n_classes, n_ctx = layout.ctx_positions.shape
    index = torch.arange(n_ctx).repeat(n_classes, 1)  # (n_classes, n_ctx)
    if per_class:
        index = index + n_ctx * torch.arange(n_classes).unsqueeze(1)
    return torch.full_like(layout.input_ids, -1).scatter(1, layout.ctx_positions, index)


def _count_common(layout: Layout, slots: Tensor, per_class: bool) -> int:
    # Placeholders are no tokens: where a context vector stands, only its number counts.
    ids = layout.input_ids.masked_fill(slots >= 0, -1)
    same = ((ids == ids[0]) & (slots == slots[0])).all(dim=0)  # (length,)
    n_same = int(same.long().cumprod(0).sum())
    return min(n_same, int(layout.eos.min()))  # each class keeps its end token at least


def _split(order: Tensor, lengths: list[int], max_tokens: int) -> list[Tensor]:
    """Cut the classes where one more would be too many tokens."""
    sizes, tokens = [0], 0
    for length in lengths:
        if sizes[-1] and tokens + length > max_tokens:
            sizes.append(0)
            tokens = 0
        sizes[-1] += 1
        tokens += length
    return list(order.split(sizes))
