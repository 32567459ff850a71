"""Checks of chapter 13: the loss, the batch, the temperature and the step of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not, is_close
from clipnotes.model import contrastive_loss


@exercise("13.1")
def loss_of_nothing(answer: Callable[[int], float]) -> None:
    """The loss of a model that knows nothing, for a batch of any size."""
    for size in (8, 256, 1000):
        wanted = contrastive_loss(torch.zeros(size, size)).item()
        given = answer(size)
        asked = f"For {size} pairs you give {given}:"
        for number, said in (
            (2 * wanted, "that is the sum of both directions, and the loss is their mean."),
            (math.log2(size), "the logarithm has another base. Cross-entropy takes the natural."),
            (1 / size, "that is the probability of the right one, and the loss is made of it."),
            (-wanted, "the loss of a probability below 1 is above 0."),
        ):
            near = isinstance(given, (int, float)) and abs(given - number) < 1e-6
            expect(not near, f"{asked} {said}")
        expect_close(given, wanted, f"{asked} a model for which all pairs are alike has another.")


@exercise("13.2")
def matches(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Which captions are true of which pictures."""
    thing = torch.tensor([0, 1, 2, 0, 3])
    kind = torch.tensor([7, 7, 8, 7, 8])
    for categories in ([0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0] * 5):
        is_category = torch.tensor(categories).bool()
        same, related = thing[:, None] == thing, kind[:, None] == kind
        wanted = (same | (related & is_category)).float()
        found = answer(thing, kind, is_category)
        given = found.float() if isinstance(found, Tensor) else found
        asked = f"With things {thing.tolist()}, kinds {kind.tolist()} and categories {categories}:"
        for mistake, said in (
            (torch.eye(5), "only the diagonal is true. A thing may be there twice."),
            (same, "a caption that is a category is true of more than its own thing."),
            (wanted.T, "rows are pictures and columns are captions: this is the other way round."),
            (same | related, "a caption that names a thing is not true of its whole kind."),
            (related & is_category, "a caption that is no category is still true of its thing."),
        ):
            known = torch.equal(mistake.float(), wanted)
            expect(known or not is_close(given, mistake), f"{asked} {said}")
        expect_close(given, wanted, f"{asked} these are not the true pairs.")


@exercise("13.3")
def draw(answer: Callable[[Tensor, int, torch.Generator], Tensor]) -> None:
    """A batch in which no thing is there twice."""
    label = torch.tensor([4, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 0])
    seen = torch.zeros(len(label), dtype=torch.long)
    rng = torch.Generator().manual_seed(0)
    for _ in range(200):
        given = answer(label, 3, rng)
        expect(
            isinstance(given, Tensor) and given.shape == (3,) and not given.is_floating_point(),
            "The numbers of three drawings are wanted, as a tensor of shape (3,).",
        )
        expect(
            set(given.tolist()) <= set(range(len(label))),
            f"{given.tolist()} are not numbers of drawings, which count from 0.",
        )
        things = label[given].tolist()
        expect(
            len(set(things)) == 3,
            f"The drawings {given.tolist()} are of the things {things}: one is there twice.",
        )
        seen[given] += 1
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
    """The parameter of the temperature, held below CLIP's limit."""
    for number in (2.77, math.log(100), 120.0, 9.0, 4.7):
        given = answer(torch.tensor(number))
        wanted = torch.tensor(min(number, math.log(100)))
        asked = f"For logit_scale {number:.2f}, a temperature of {math.exp(number):.4g},"
        if number <= math.log(100) + 1e-6:
            expect_close(given, wanted, f"{asked} nothing has to be held.")
            continue
        expect_not(
            given,
            torch.tensor(min(number, 100.0)),
            f"{asked} you hold the parameter below 100. It is the logarithm of the temperature.",
        )
        expect_close(given, wanted, f"{asked} the temperature would be another than CLIP allows.")


@exercise("13.5")
def evened(answer: Callable[[Tensor], Tensor]) -> None:
    """A gradient with all its singular values brought to one, by products only."""
    for rows, columns in ((5, 5), (4, 7), (7, 4)):
        r = min(rows, columns)
        U, V = (torch.linalg.qr(torch.randn(n, r))[0] for n in (rows, columns))
        for size in (1.0, 30.0):
            gradient = size * U @ torch.diag(torch.linspace(1, 0.2, r)) @ V.T
            given = answer(gradient)
            expect(
                isinstance(given, Tensor) and given.shape == gradient.shape,
                f"A matrix of {tuple(gradient.shape)} is wanted, like the gradient.",
            )
            asked = f"For a gradient of length {gradient.norm():.1f}"
            expect(
                given.isfinite().all() and given.norm() < 1e3,
                f"{asked} the numbers grow without end. Singular values above the square root of "
                "3 do: make them small first.",
            )
            values = torch.linalg.svdvals(given)
            expect(
                (values - 1).abs().max() < 1e-2,
                f"{asked} the singular values of your step go from {values.min():.3g} to "
                f"{values.max():.3g}. Wanted is 1 for all of them.",
            )
            sentence = f"{asked} the singular values are 1, but the step goes another way."
            expect_close(given, U @ V.T, sentence, atol=3e-2)
