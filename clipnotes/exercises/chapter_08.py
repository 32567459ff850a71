"""Checks of chapter 8: vectors in the place of words, room for them, and what must not move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.compat import text_features
from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not, is_close
from clipnotes.exercises.small import small_clip
from clipnotes.model import unit_length
from clipnotes.prompts import inject
from clipnotes.prompts.layout import Layout

START, END = 37, 38  # of a small CLIP


@exercise("8.1")
def unseen_change(answer: Callable[[Tensor], Tensor]) -> None:
    """Change every number of a context without changing any text's features."""
    model = small_clip(width=16)
    ids = torch.tensor([[START, 1, 1, 1, 4, END], [START, 1, 1, 1, 7, END]])
    for n_ctx in (3, 2):
        ctx = 0.3 * torch.randn(n_ctx, 16)
        result = answer(ctx)
        expect(
            isinstance(result, Tensor) and result.shape == ctx.shape,
            "Give a context of the same shape.",
        )
        expect(
            ((result - ctx).abs() > 1e-3).all(),
            "Some of the numbers are the same as before. All of them should change.",
        )
        features = []
        for vectors in (ctx, result):
            with inject(model, vectors.detach()), torch.no_grad():
                features.append(unit_length(text_features(model, ids)))
        expect_close(
            features[1],
            features[0],
            "The features of the texts change. Think of what every layer does to a vector before "
            "it reads it: some changes do not survive that.",
            atol=1e-3,
        )


@exercise("8.2")
def room(answer: Callable[[Any, Sequence[str], int], int]) -> None:
    """Count how many context tokens fit with every name."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(EMOJI_CLIP))
    for names, limit in (
        (["bus", "pomegranate tree", "red apple"], 20),
        (["rose", "hatching chick in a basket", "a car"], 32),
    ):
        wanted = 0
        for n_ctx in range(1, limit):
            try:
                Layout.build(tokenizer, names, n_ctx, limit=limit)
            except ValueError:
                break
            wanted = n_ctx
        result = answer(tokenizer, names, limit)
        case = f"For {names} and {limit} positions, {result} is"
        words = limit - 3 - max(len(name.split()) for name in names)
        expect(result != words, f"{case} what would fit if every word were one token.")
        expect(result != wanted + 1, f"{case} one too many. What stands behind the name?")
        expect(
            result != wanted + 2,
            f"{case} two too many. Which two tokens does the tokenizer add by itself?",
        )
        expect_close(result, wanted, f"{case} not it: the longest of the prompts has to fit.")


@exercise("8.3")
def replaced(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Replace rows of some vectors, in a new tensor."""
    vectors, ctx = torch.randn(2, 6, 4), torch.randn(3, 4)
    places = torch.tensor([[1, 2, 3], [4, 2, 3]])
    wanted, same_places, in_order = vectors.clone(), vectors.clone(), vectors.clone()
    for i in range(2):
        for j in range(3):
            wanted[i, places[i, j]] = ctx[j]
            same_places[i, places[0, j]] = ctx[j]
            in_order[i, places[i].sort().values[j]] = ctx[j]
    result = answer(vectors, ctx, places)
    expect_not(
        result,
        same_places,
        "The second text got its context at the places of the first.",
    )
    expect_not(
        result,
        in_order,
        "The vectors stand in the order of the text. Vector j belongs at the j-th of the places, "
        "and those may be in any order.",
    )
    expect_close(result, wanted, "Other rows than the ones that were asked for are different.")

    half = answer(vectors.bfloat16(), ctx, places)
    expect(
        half.dtype == torch.bfloat16,
        f"In a model of bfloat16 with a context of float32, your result is {half.dtype}: the "
        "context should become what the rest of the sentence is.",
    )
    leaf, free = vectors.clone().requires_grad_(), ctx.clone().requires_grad_()
    weight = torch.randn_like(vectors)
    (answer(leaf, free, places) * weight).sum().backward()
    expect(
        free.grad is not None and leaf.grad is not None,
        "No gradient comes back to the context or to the other vectors.",
    )
    rows = torch.arange(2)[:, None]
    slope = "The gradient of the context is not the sum over the texts."
    expect_close(free.grad, weight[rows, places].sum(0), slope)


@exercise("8.4")
def at_the_back(answer: Callable[[Layout], Layout]) -> None:
    """Lay out the same prompts with the context right before the end."""
    dot, x = 5, 1
    for n_ctx, names in ((2, [[7], [8, 9, 10], [11, 12]]), (3, [[7, 8], [9, 9, 7, 6]])):
        rows = [[START, *[x] * n_ctx, *name, dot] for name in names]
        moved = [[START, *name, dot, *[x] * n_ctx] for name in names]
        ends = torch.tensor([len(row) for row in rows])
        first = torch.arange(1, 1 + n_ctx).repeat(len(rows), 1)
        layout = Layout(_filled(rows), first, ends)
        kept = [layout.input_ids.clone(), layout.ctx_positions.clone(), layout.eos.clone()]
        result = answer(layout)
        now = [layout.input_ids, layout.ctx_positions, layout.eos]
        expect(
            all(map(torch.equal, now, kept)),
            "Your function changes the layout that it was given. Make a new one.",
        )
        expect(
            isinstance(result, Layout),
            f"A Layout is wanted, and this is a {type(result).__name__}.",
        )
        sentence = "No prompt has become longer or shorter, so every end is where it was."
        expect_close(result.eos, ends, sentence)
        expect(
            not (result.ctx_positions == result.eos[:, None]).any(),
            "A vector would stand where the text is read out, in the place of the end token.",
        )
        places = ends[:, None] - n_ctx + torch.arange(n_ctx)
        sentence = "These are not the places right in front of each prompt's own end, in order."
        expect_close(result.ctx_positions, places, sentence)
        expect(
            not torch.equal(result.input_ids, layout.input_ids),
            "The places are right, but the ids stand as before: the context would cover the names.",
        )
        sentence = "The ids are not start, name, dot, placeholders, end."
        expect_close(result.input_ids, _filled(moved), sentence)


def _filled(rows: list[list[int]]) -> Tensor:
    length = 1 + max(map(len, rows))
    return torch.tensor([row + [END] * (length - len(row)) for row in rows])


@exercise("8.5")
def train_row(answer: Callable[[Tensor, int, Callable[[Tensor], Tensor]], Tensor]) -> None:
    """Take three steps of AdamW on a single row of a table."""
    for row in (2, 0):
        table, aim = torch.randn(5, 4), torch.randn(5, 4)

        def loss(whole: Tensor, aim: Tensor = aim) -> Tensor:
            return (whole - aim).square().sum()

        wanted, undecayed = (_steps(table, row, loss, decay) for decay in (0.1, 0.0))
        result = answer(table, row, loss)
        expect(
            isinstance(result, Tensor) and result.shape == table.shape,
            "Give the whole table, as a new tensor.",
        )
        same = (result == table).all(1)
        same[row] = True
        expect(
            same.all(),
            f"{int((~same).sum())} rows moved that were not meant to, if only a little. A gradient "
            "of zero does not hold a weight: weight decay moves it all the same.",
        )
        expect(not torch.equal(result[row], table[row]), f"Row {row} did not move.")
        expect(
            not is_close(result, undecayed, atol=1e-6),
            "Row by row this is right, but without the weight decay that was asked for.",
        )
        expect_close(result, wanted, f"Row {row} is not where three steps bring it.", atol=1e-6)


def _steps(table: Tensor, row: int, loss: Callable[[Tensor], Tensor], decay: float) -> Tensor:
    """Train all rows, and then put the others back."""
    whole = table.clone().requires_grad_()
    optimizer = torch.optim.AdamW([whole], lr=1e-2, weight_decay=decay)
    for _ in range(3):
        optimizer.zero_grad()
        loss(whole).backward()
        optimizer.step()
    result = table.clone()
    result[row] = whole.detach()[row]
    return result
