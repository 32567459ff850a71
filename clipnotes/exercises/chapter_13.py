"""Checks of chapter 13: the loss, the batch, the scale and the step of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not, is_close
from clipnotes.model import contrastive_loss


@exercise("13.1")
def loss_of_nothing(answer: Callable[[int], float]) -> None:
    """Compute the loss of a model that knows nothing, for any batch size."""
    for size in (8, 256, 1000):
        wanted = contrastive_loss(torch.zeros(size, size)).item()
        result = answer(size)
        case = f"For {size} pairs you give {result}:"
        for number, sentence in (
            (2 * wanted, "that is the sum of both directions, and the loss is their mean."),
            (math.log2(size), "the logarithm has a different base. Cross-entropy is natural."),
            (1 / size, "that is the probability of the right one, and the loss is made of it."),
            (-wanted, "the loss of a probability below 1 is above 0."),
        ):
            near = isinstance(result, (int, float)) and abs(result - number) < 1e-6
            expect(not near, f"{case} {sentence}")
        expect_close(result, wanted, f"{case} with all logits alike it is different.")


@exercise("13.2")
def matches(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Mark which captions are true of which images."""
    thing = torch.tensor([0, 1, 2, 0, 3])
    kind = torch.tensor([7, 7, 8, 7, 8])
    for categories in ([0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5):
        is_category = torch.tensor(categories).bool()
        same, related = thing[:, None] == thing, kind[:, None] == kind
        wanted = (same | (related & is_category)).float()
        table = answer(thing, kind, is_category)
        result = table.float() if isinstance(table, Tensor) else table
        case = f"With things {thing.tolist()}, kinds {kind.tolist()} and categories {categories}:"
        for mistake, sentence in (
            (torch.eye(5), "only the diagonal is true. A thing may be there twice."),
            (same, "a caption that is a category is true of more than its own thing."),
            (wanted.T, "rows are images and columns are captions: this is the other way round."),
            (same | related, "a caption that names a thing is not true of its whole kind."),
            (related & is_category, "a caption that is no category is still true of its thing."),
        ):
            known = torch.equal(mistake.float(), wanted)
            expect(known or not is_close(result, mistake), f"{case} {sentence}")
        expect_close(result, wanted, f"{case} these are not the true pairs.")


@exercise("13.3")
def draw(answer: Callable[[Tensor, int, torch.Generator], Tensor]) -> None:
    """Draw a batch in which no thing occurs twice."""
    label = torch.tensor([4, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 0])
    seen = torch.zeros(len(label), dtype=torch.long)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        result = answer(label, 3, rng)
        expect(
            isinstance(result, Tensor) and result.shape == (3,) and not result.is_floating_point(),
            "The numbers of three drawings are wanted, as a tensor of shape (3,).",
        )
        expect(
            set(result.tolist()) <= set(range(len(label))),
            f"{result.tolist()} are not numbers of drawings, which count from 0.",
        )
        things = label[result].tolist()
        expect(
            len(set(things)) == 3,
            f"The drawings {result.tolist()} are of the things {things}: one is there twice.",
        )
        seen[result] += 1
    never = [int(i) for i in (seen == 0).nonzero()]
    always = [int(i) for i in (seen == 200).nonzero()]
    expect(not always, f"In 200 batches the drawings {always} were there every time.")
    expect(
        not never,
        f"In 200 batches the drawings {never} did not come up once, with the labels "
        f"{label.tolist()}. Every thing and every designer should have a chance.",
    )
    pair = [answer(label, 3, torch.Generator().manual_seed(7)).tolist() for _ in range(2)]
    expect(
        pair[0] == pair[1],
        "Two generators with the same seed gave two batches: draw with the one that is given, or "
        "nobody can repeat the run.",
    )


@exercise("13.4")
def held(answer: Callable[[Tensor], Tensor]) -> None:
    """Keep the parameter of the scale below CLIP's limit."""
    for number in (2.77, math.log(100), 120.0, 9.0, 4.7):
        result = answer(torch.tensor(number))
        wanted = torch.tensor(min(number, math.log(100)))
        case = f"For logit_scale {number:.2f}, a scale of {math.exp(number):.4g},"
        if number <= math.log(100) + 1e-6:
            expect_close(result, wanted, f"{case} nothing has to be held.")
            continue
        expect_not(
            result,
            torch.tensor(min(number, 100.0)),
            f"{case} you hold the parameter below 100. It is the logarithm of the scale.",
        )
        expect_close(result, wanted, f"{case} the scale is not the one that CLIP allows.")


@exercise("13.5")
def evened(answer: Callable[[Tensor], Tensor]) -> None:
    """Bring all singular values of a gradient to one, with products only."""
    for rows, columns in ((5, 5), (4, 7), (7, 4)):
        r = min(rows, columns)
        U, V = (torch.linalg.qr(torch.randn(n, r))[0] for n in (rows, columns))
        for size in (1.0, 30.0):
            gradient = size * U @ torch.diag(torch.linspace(1, 0.2, r)) @ V.T
            result = answer(gradient)
            expect(
                isinstance(result, Tensor) and result.shape == gradient.shape,
                f"A matrix of {tuple(gradient.shape)} is wanted, like the gradient.",
            )
            case = f"For a gradient of length {gradient.norm():.1f}"
            expect(
                result.isfinite().all() and result.norm() < 1e3,
                f"{case} the numbers grow without end. Singular values above the square root of "
                "3 do: make them small first.",
            )
            values = torch.linalg.svdvals(result)
            expect(
                (values - 1).abs().max() < 1e-2,
                f"{case} the singular values of your step go from {values.min():.3g} to "
                f"{values.max():.3g}. Wanted is 1 for all of them.",
            )
            sentence = f"{case} the singular values are 1, but the step goes another way."
            expect_close(result, U @ V.T, sentence, atol=3e-2)
