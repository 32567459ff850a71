"""Which tokens of the prompts have to be computed at all, and how they are packed.

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

Tokens of many classes stand behind each other as rows of one matrix, without padding. Only for
attention are they laid into blocks, a few classes in each, so that one class is not compared with
all others. No model in this file.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from clipnotes.prompts.layout import Layout
from clipnotes.prompts.substitute import check_end

BLOCK = 32  # tokens in a block of attention, or those of one class if it has more


@dataclass(frozen=True, eq=False)
class Stretch:
    """Packed tokens: those that are common to all prompts, if any, then those of each class.

    Attributes:
        ids: (n_tokens,) int64, the tokens.
        places: (n_tokens,) int64, where each of them stands in its prompt.
        ctx_rows: (n_vectors,) int64, the rows that get a context vector.
        ctx_index: (n_vectors,) int64, which vector: a row of the context, flattened if per class.
        n_common: How many of the first rows are common to all prompts; may be 0.
        asks: (n_blocks, n_slots) int64, the row in each slot of a block, counted without the
            common ones; any row in an empty slot.
        sees: (n_blocks, n_seen) int64, the rows that a block looks at: those of the stretch before
            it, if there is one, then its own. They are counted without the common ones.
        visible: (n_blocks, 1, n_slots, n_common + n_seen) bool, which slot may look at which row.
        slots: (n_tokens - n_common,) int64, the slot of each row that is not common.
    """

    ids: Tensor
    places: Tensor
    ctx_rows: Tensor
    ctx_index: Tensor
    n_common: int
    asks: Tensor
    sees: Tensor
    visible: Tensor
    slots: Tensor


class Chunk(NamedTuple):
    """Some classes that are computed at once.

    Attributes:
        constant: The common tokens and the heads, if they hold no context.
        rest: The tokens that see a context: the tails, and the common tokens if they hold it.
        ends: (n,) int64, the rows of ``rest`` where the prompt of each class ends.
    """

    constant: Stretch | None
    rest: Stretch
    ends: Tensor


@dataclass(frozen=True, eq=False)
class Packing:
    """All prompts, packed into chunks; ``rank`` (n_classes,) is the place of each class in them."""

    chunks: tuple[Chunk, ...]
    rank: Tensor


@lru_cache(maxsize=16)
def pack(layout: Layout, per_class: bool, max_tokens: int, device: torch.device) -> Packing:
    """Pack the prompts of all classes; the same arguments return the same object.

    ``per_class`` says that each class has its own context. ``max_tokens`` limits a chunk, not
    counting the common tokens, but a chunk has at least one class. ``device`` is for the indices.
    """
    with torch.device("cpu"):  # indices are cheap there, whatever the default device is
        return _pack(layout, per_class, max_tokens, device)


def _pack(layout: Layout, per_class: bool, max_tokens: int, device: torch.device) -> Packing:
    check_end(layout.ctx_positions, layout.eos)
    index = _number_ctx(layout, per_class)  # (n_classes, length)
    n_common = _count_common(layout, index)
    begin = torch.full_like(layout.eos, n_common)
    parting = torch.maximum(layout.ctx_positions.min(dim=1).values, begin)  # where tails begin
    end = layout.eos + 1
    lengths = end - begin
    order = lengths.argsort(stable=True)

    chunks = []
    for classes in _fill(order, lengths, max_tokens):
        parts = _fill(classes, lengths, BLOCK)
        block = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(p) for p in parts]))
        head = _Rows.build(classes, block, begin, parting)
        tail = _Rows.build(classes, block, parting, end)
        ends = (end - parting)[classes].cumsum(0) - 1  # (n,)
        if bool((index[0, :n_common] >= 0).any()):  # the context is common, and heads are empty
            constant, rest = None, _stretch(layout, index, n_common, n_common, [tail], device)
            ends = ends + n_common
        else:
            constant = _stretch(layout, index, n_common, n_common, [head], device)
            rest = _stretch(layout, index, n_common, 0, [head, tail], device)
        chunks.append(Chunk(constant, rest, ends.to(device)))
    return Packing(tuple(chunks), order.argsort().to(device))


def _number_ctx(layout: Layout, per_class: bool) -> Tensor:
    """Number the context's places: (n_classes, length), -1 where a token stands."""
    n_classes, n_ctx = layout.ctx_positions.shape
    index = torch.arange(n_ctx).repeat(n_classes, 1)  # (n_classes, n_ctx)
    if per_class:
        index = index + n_ctx * torch.arange(n_classes).unsqueeze(1)
    return torch.full_like(layout.input_ids, -1).scatter(1, layout.ctx_positions, index)


def _count_common(layout: Layout, index: Tensor) -> int:
    ids = layout.input_ids
    same = ((ids == ids[0]) & (index == index[0])).all(dim=0)  # (length,)
    n_same = int(same.long().cumprod(0).sum())
    return min(n_same, int(layout.eos.min()))  # each class keeps at least its end token


def _fill(classes: Tensor, lengths: Tensor, room: int) -> list[Tensor]:
    """Split classes, in their order, into groups that fit into ``room`` tokens."""
    sizes, taken = [0], 0
    for length in lengths[classes].tolist():
        if sizes[-1] and taken + length > room:
            sizes.append(0)
            taken = 0
        sizes[-1] += 1
        taken += length
    return list(classes.split(sizes))


class _Rows(NamedTuple):
    """Stretches of several classes as rows: the class, the place and the slot of each row."""

    owner: Tensor  # (n_tokens,)
    place: Tensor  # (n_tokens,)
    slot: Tensor  # (n_tokens,), counted through all blocks
    n_blocks: int
    n_slots: int  # in each block

    @classmethod
    def build(cls, classes: Tensor, block: Tensor, start: Tensor, stop: Tensor) -> "_Rows":
        lengths = (stop - start)[classes]
        owner, rows = classes.repeat_interleave(lengths), torch.arange(int(lengths.sum()))
        first = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)  # row of the own class
        block, n_blocks = block.repeat_interleave(lengths), int(block[-1]) + 1
        taken = torch.bincount(block, minlength=n_blocks)  # (n_blocks,)
        slot = rows - (taken.cumsum(0) - taken)[block]  # within the block
        n_slots = int(taken.max())
        return cls(owner, start[owner] + rows - first, block * n_slots + slot, n_blocks, n_slots)

    def in_blocks(self, kind: Tensor) -> Tensor:
        """Arrange one number per row in the blocks: (n_blocks, n_slots), -1 in empty slots."""
        empty = torch.full((self.n_blocks * self.n_slots,), -1)
        return empty.scatter(0, self.slot, kind).view(self.n_blocks, self.n_slots)

    def seen_from(self, rows: "_Rows") -> Tensor:
        """Tell which slots of these blocks may be seen from the slots where ``rows`` are."""
        same = rows.in_blocks(rows.owner).unsqueeze(2) == self.in_blocks(self.owner).unsqueeze(1)
        ahead = rows.in_blocks(rows.place).unsqueeze(2) < self.in_blocks(self.place).unsqueeze(1)
        return same & ~ahead


def _stretch(
    layout: Layout,
    index: Tensor,
    n_common: int,
    n_own: int,
    rows: list[_Rows],
    device: torch.device,
) -> Stretch:
    """Make the last of ``rows`` a stretch, which holds ``n_own`` of the common tokens itself."""
    asks = rows[-1]
    owner = torch.cat([torch.zeros(n_own, dtype=torch.int64), asks.owner])  # (n_tokens,)
    places = torch.cat([torch.arange(n_own), asks.place])  # (n_tokens,)
    index_here = index[owner, places]
    ctx_rows = (index_here >= 0).nonzero().squeeze(1)
    sees, first = [], 0
    for part in rows:
        sees.append(part.in_blocks(torch.arange(first, first + len(part.slot))).clamp(min=0))
        first += len(part.slot)
    common = torch.ones(asks.n_blocks, asks.n_slots, n_common, dtype=torch.bool)
    visible = torch.cat([common, *(part.seen_from(asks) for part in rows)], dim=2)
    return Stretch(
        ids=layout.input_ids[owner, places].to(device),
        places=places.to(device),
        ctx_rows=ctx_rows.to(device),
        ctx_index=index_here[ctx_rows].to(device),
        n_common=n_own,
        asks=asks.in_blocks(torch.arange(len(asks.slot))).clamp(min=0).to(device),
        sees=torch.cat(sees, dim=1).to(device),
        visible=visible.unsqueeze(1).to(device),
        slots=asks.slot.to(device),
    )
