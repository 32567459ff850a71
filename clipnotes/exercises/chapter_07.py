"""Checks of chapter 7: where a text ends, and vectors that get in by a hook."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clipnotes.compat import text_tower
from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.exercises.small import small_clip
from clipnotes.model import eos_positions
from clipnotes.trace import Call, trace

START, END = 37, 38  # of a small CLIP


@exercise("7.1")
def ends_by_mask(answer: Callable[[Tensor], Tensor]) -> None:
    """Find where texts end from the mask of their padding."""
    for lengths in ([3, 5, 2], [4, 4, 6, 1]):
        counted = torch.tensor(lengths)
        mask = (torch.arange(max(lengths)) < counted[:, None]).long()
        result = answer(mask)
        expect_not(
            result,
            counted,
            "That is how many tokens each text has. Places are counted from 0.",
        )
        expect_not(
            result,
            mask.sum(0) - 1,
            "That is one number for each place, and one for each text is wanted: over which "
            "dimension do you add up?",
        )
        expect_close(result, counted - 1, "These are not the places of the last tokens.")
        expect(
            not result.is_floating_point(),
            f"The dtype is {result.dtype}. Places are integers, or nobody can index with them.",
        )


@exercise("7.2")
def last_taker(answer: Callable[[Call, int | None], str]) -> None:
    """Find the last call that is given a tensor."""
    for n_layers in (2, 3):
        tower = text_tower(small_clip(layers=n_layers))
        ids = torch.tensor([[START, 4, 5, END], [START, 6, END, END]])
        calls = trace(tower, input_ids=ids, attention_mask=torch.tensor([[1] * 4, [1, 1, 1, 0]]))
        encoder = calls.find("encoder").arguments
        wanted = {
            calls.find("embeddings").arguments["input_ids"].mark: "embeddings.token_embedding",
            encoder["inputs_embeds"].mark: "encoder.layers.0.layer_norm1",
            encoder["attention_mask"].mark: f"encoder.layers.{n_layers - 1}.self_attn",
        }
        for mark, path in wanted.items():
            result: Any = answer(calls, mark)
            kind = type(result).__name__
            expect(isinstance(result, str), f"A path is wanted, a string, and this is a {kind}.")
            takers = [
                call.path
                for call in calls.walk()
                if any(value.mark == mark for value in call.arguments.values())
            ]
            expect(
                result in takers,
                f"The call of {result!r} did not get the tensor with mark {mark} as an argument.",
            )
            expect(
                result == path,
                f"{result!r} did get the tensor with mark {mark}, but it was not the last call to "
                "get it: does your search stop too early?",
            )


@exercise("7.3")
def with_vectors(answer: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
    """Pool a text whose tokens get different vectors through a hook."""
    tower: Any = text_tower(small_clip())
    ids = torch.tensor([[START, 4, 5, 6, END], [START, 7, 5, 4, END]])
    other_ids = torch.tensor([[START, 8, 7, 6, END], [START, 4, 4, 9, END]])
    vectors = tower.embeddings.token_embedding(other_ids).detach()
    with torch.no_grad():
        plain = tower(input_ids=ids).pooler_output
        wanted = tower(input_ids=other_ids).pooler_output
    result = answer(tower, ids, vectors)
    expect_not(
        result,
        plain,
        "The result is what the ids alone give: your vectors did not get in. What a forward hook "
        "returns takes the place of what the module returned.",
    )
    expect_close(result, wanted, "This is not the pooled vector of a text with these vectors.")
    left = "A hook is still there afterwards, and the next text would get these vectors too."
    expect(_hooks(tower) == 0, left)

    leaf = vectors.clone().requires_grad_()
    answer(tower, ids, leaf).sum().backward()
    expect(
        leaf.grad is not None and leaf.grad.abs().sum() > 0,
        "No gradient comes back to the vectors, so nobody could learn them.",
    )
    tower.zero_grad()
    try:  # too few vectors: the tower raises, and that is right
        inspect.unwrap(answer)(tower, ids, vectors[:, :3])
    except Exception:
        expect(
            _hooks(tower) == 0,
            "When the tower raises an error, your hook stays in it. Take it out in any case.",
        )


def _hooks(tower: Any) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in tower.modules()
    )


@exercise("7.4")
def confuse(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Change one token per text so that the two rules for its end disagree."""
    for end in (END, 41):
        texts = [[0, 4, 5, 6, end, end], [0, 3, 7, end, end, end], [0, 1, 2, 3, 4, end]]
        ids = torch.tensor(texts)
        result = answer(ids, end)
        expect(
            isinstance(result, Tensor) and result.shape == ids.shape,
            "Give a tensor of ids of the same shape.",
        )
        differ = (result != ids).sum(1)  # (B,)
        expect(
            (differ == 1).all(),
            "In each text exactly one token may be different. The number of tokens that differ: "
            f"{differ.tolist()}.",
        )
        expect((result[:, 0] == 0).all(), "Leave the start token where it is.")
        by_place, by_size = eos_positions(result, end), eos_positions(result, 2)
        expect(
            torch.equal(by_place, eos_positions(ids, end)),
            "The rule that looks for the end token finds a different place now. Every end "
            "token has to stay, and none may be added.",
        )
        expect(
            (by_place != by_size).all(),
            "Both rules still find the same place in some text. What does the rule for an "
            "eos_token_id of 2 look for?",
        )


@exercise("7.5")
def pool(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Take the state at each text's end, whatever the padding and the added tokens."""
    ids = torch.tensor([[0, 4, 5, END, END, END], [0, 39, 5, 6, END, 0], [0, 1, 2, 3, 4, END]])
    states = torch.randn(3, 6, 4)
    rows = torch.arange(3)
    result = answer(states, ids, END)
    ends = (ids == END).int()
    expect_not(
        result,
        states[:, -1],
        "You took the last row of every text. Behind its end there may be padding.",
    )
    expect_not(
        result,
        states[rows, ids.argmax(1)],
        "You took the row of the largest id. A token that was added has a larger one than the end.",
    )
    expect_not(
        result,
        states[rows, 5 - ends.flip(1).argmax(1)],
        "You took the row of a text's last end token. Which of them has the text before it, and "
        "which are padding?",
    )
    expect_close(result, states[rows, ends.argmax(1)], "These are not the rows of the ends.")
    expect_close(answer(states[:1], ids[:1], END), states[:1, 3], "A single text goes wrong.")

    lost = ids.clone()
    lost[1, 4] = 6
    try:
        inspect.unwrap(answer)(states, lost, END)
    except ValueError:
        return
    expect(
        False,
        "The second of these texts has no end token, and your function read out some row of it "
        f"without a word: {lost.tolist()} with the end {END}. It should raise a ValueError.",
    )
