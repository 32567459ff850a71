"""How prompts are packed: what is in a chunk, what is common, what may be seen."""

import copy

import pytest
import torch

from clipnotes.compat import text_tower
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.packed import bytes_per_token
from clipnotes.prompts.packing import BLOCK, _fill, pack
from reference_prompts import MANY

CPU = torch.device("cpu")


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("max_tokens", [0, 15, 40, 1000])
def test_every_token_is_packed_once(clip, position, per_class, max_tokens):
    layout = Layout.build(clip.tokenizer, MANY, 6, limit=32, position=position)
    packing = pack(layout, per_class, max_tokens, CPU)
    tokens = 0
    for chunk in packing.chunks:
        stretches = [stretch for stretch in (chunk.constant, chunk.rest) if stretch is not None]
        n_common = sum(stretch.n_common for stretch in stretches)
        assert n_common >= 1
        own = sum(len(stretch.slots) for stretch in stretches)
        assert own <= max_tokens or len(chunk.ends) == 1
        tokens += own + len(chunk.ends) * n_common
        assert (chunk.rest.ids[chunk.ends] == clip.tokenizer.eos_token_id).all()
        if chunk.constant is not None:
            assert not len(chunk.constant.ctx_rows)
        for stretch in stretches:
            assert len(stretch.ids) == stretch.n_common + len(stretch.slots)
            assert len(stretch.slots.unique()) == len(stretch.slots)
            assert stretch.visible.any(dim=-1).all()
    assert tokens == int((layout.eos + 1).sum())
    assert sorted(packing.rank.tolist()) == list(range(len(MANY)))
    if max_tokens == 0:
        assert len(packing.chunks) == len(MANY)
    if max_tokens == 1000:
        assert len(packing.chunks) == 1


def test_blocks_hold_several_classes_or_one_long_one(clip):
    layout = Layout.build(clip.tokenizer, [*MANY, "x " * 50], 6, limit=77)
    (chunk,) = pack(layout, False, 1000, CPU).chunks
    n_blocks, _, n_slots, _ = chunk.rest.visible.shape
    assert n_slots == 52  # the long name, the dot, the end
    per_block = torch.bincount(chunk.rest.slots // n_slots, minlength=n_blocks)
    assert per_block[-1] == 52
    assert BLOCK / 2 < per_block[:-1].max() <= BLOCK


def test_packing_is_done_once(clip):
    layout = Layout.build(clip.tokenizer, MANY, 6, limit=32)
    assert pack(layout, False, 100, CPU) is pack(layout, False, 100, CPU)


@pytest.mark.parametrize(
    ("lengths", "room", "expected"),
    [
        ([3, 4, 1, 2], 7, [[0, 1], [2, 3]]),  # full to the last token
        ([3, 4, 1, 2], 8, [[0, 1, 2], [3]]),
        ([3, 4, 1, 6], 7, [[0, 1], [2, 3]]),  # each part begins with nothing in it
        ([9, 1, 9, 9], 7, [[0], [1], [2], [3]]),  # too long for any room: alone
        ([1, 1, 1, 1], 0, [[0], [1], [2], [3]]),
        ([5], 7, [[0]]),
    ],
)
def test_as_many_classes_as_there_is_room_for(lengths, room, expected):
    parts = _fill(torch.arange(len(lengths)), torch.tensor(lengths), room)
    assert [part.tolist() for part in parts] == expected


def test_classes_are_parted_in_the_order_they_are_given_in():
    parts = _fill(torch.tensor([2, 0, 1]), torch.tensor([5, 4, 3]), 8)
    assert [part.tolist() for part in parts] == [[2, 0], [1]]


def test_short_prompts_stand_together(clip):
    """Sorted by length, so that a block of attention is filled up by little."""
    layout = Layout.build(clip.tokenizer, MANY, 6, limit=32)
    packing = pack(layout, False, 15, CPU)
    order = packing.rank.argsort()
    assert layout.eos[order].tolist() == sorted(layout.eos.tolist())
    same = [i for i in order.tolist() if layout.eos[i] == layout.eos[0]]
    assert same == sorted(same), "of one length, as they were given"


@pytest.mark.parametrize(("keeps", "layers"), [(True, 3), (False, 1)])
def test_a_longer_prompt_takes_more_for_each_token(clip, keeps, layers):
    """Every head compares it with one token more, in each layer that is kept and in passing."""
    tower = text_tower(clip.model)
    heads, found = tower.config.num_attention_heads, lambda n: bytes_per_token(tower, n, keeps)
    comparison = heads * (layers + 1) * 4
    assert found(BLOCK) - found(BLOCK - 1) == comparison  # a block is as long as before
    assert found(BLOCK + 1) - found(BLOCK) == 2 * comparison
    assert bytes_per_token(copy.deepcopy(tower).half(), 20, keeps) == found(20) / 2


@pytest.mark.parametrize("position", ["end", "front"])
def test_all_indices_are_on_the_device_that_was_asked_for(clip, position):
    layout = Layout.build(clip.tokenizer, MANY, 6, limit=32, position=position)
    packing = pack(layout, False, 1000, torch.device("meta"))
    (chunk,) = packing.chunks
    found = [packing.rank, chunk.ends]
    for stretch in (chunk.constant, chunk.rest):
        found += [] if stretch is None else vars(stretch).values()
    devices = [tensor.device.type for tensor in found if isinstance(tensor, torch.Tensor)]
    assert devices == ["meta"] * len(devices) and len(devices) >= 10
