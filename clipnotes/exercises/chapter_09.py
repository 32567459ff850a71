"""Checks of chapter 9: changes, mistakes, a schedule and a training."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean, pstdev, stdev
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.prompts.recipe import learning_rates


@exercise("9.1")
def paired(answer: Callable[[list[float], list[float]], Any]) -> None:
    """Compute the mean change from one list to another, and its spread."""
    for before, after in (
        ([0.61, 0.55, 0.7, 0.58], [0.66, 0.57, 0.79, 0.6]),
        ([0.3, 0.9, 0.4], [0.2, 0.95, 0.4]),
    ):
        result = answer(before, after)
        two = isinstance(result, (tuple, list, Tensor)) and len(result) == 2
        expect(two, "Two numbers are wanted: the mean change, and its spread.")
        average, spread = result
        changed = [b - a for a, b in zip(before, after, strict=True)]
        case = f"For {before} and then {after}:"
        expect_close(average, mean(changed), f"{case} this is not the mean change.")
        for number, sentence in (
            (
                pstdev(changed),
                "the spread is divided by n. A few draws know their own mean too "
                "well: divide by one less.",
            ),
            (stdev(after), "that is the spread of the second list, not of the change."),
            (
                stdev(after) - stdev(before),
                "that is a difference of two spreads. How much the "
                "change itself differs from draw to draw is something else.",
            ),
        ):
            expect(abs(float(spread) - number) > 1e-6, f"{case} {sentence}")
        expect_close(spread, stdev(changed), f"{case} this is not the spread of the change.")


@exercise("9.2")
def most_confused(answer: Callable[[Tensor], Any]) -> None:
    """Find which class is most often taken for which other class."""
    for true, predicted in ((3, 1), (0, 2)):
        confusion = torch.randint(0, 5, (4, 4))
        confusion += torch.diag(torch.tensor([20, 30, 25, 40]))
        confusion[true, predicted] = 9
        result = answer(confusion)
        pair = isinstance(result, (tuple, list, Tensor)) and len(result) == 2
        expect(
            pair,
            f"Two class numbers are wanted, and this is {result!r}. A place in the flattened "
            "matrix is one number: what are its row and its column?",
        )
        row, column = (int(number) for number in result)
        expect(
            row != column,
            f"Class {row} was taken for itself. On the diagonal stands what was right.",
        )
        expect(
            (row, column) != (predicted, true),
            "The other way round: a row belongs to the true class, a column to the one said.",
        )
        expect(
            (row, column) == (true, predicted),
            f"Class {row} was taken for class {column} {int(confusion[row, column])} times. There "
            "is a pair with more.",
        )


@exercise("9.3")
def rates(answer: Callable[[float, int], Any]) -> None:
    """List the learning rate of every epoch by CoOp's recipe."""
    for lr, epochs in ((0.002, 5), (0.1, 12), (0.002, 1)):
        wanted = torch.tensor(learning_rates("cosine", lr, epochs))
        listed = answer(lr, epochs)
        expect(isinstance(listed, (list, tuple, Tensor)), "A list of rates is wanted.")
        result = torch.as_tensor([float(rate) for rate in listed])
        case = f"For lr={lr} and {epochs} epochs:"
        expect(
            len(result) == epochs,
            f"{case} there are {len(result)} rates. One an epoch is wanted, the epoch of the "
            "warm-up among them.",
        )
        expect_close(result[0], wanted[0], f"{case} the first rate is not the warm-up's.", atol=0)
        if epochs == 1:
            continue
        expect_close(
            result[1],
            wanted[1],
            f"{case} the cosine does not begin at lr. Its own epochs count from 0.",
            atol=0,
        )
        expect_close(
            result,
            wanted,
            f"{case} the rates after the first two are different. The cosine falls as slowly as if "
            "it had all epochs to itself.",
            atol=0,
        )


class _Learner(nn.Module):
    """Has what training needs of a prompt learner: one parameter, and logits that depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.ctx = nn.Parameter(torch.randn(3, 4))
        self.frozen = nn.Linear(4, 4).requires_grad_(False)

    def logits(self, images: Tensor) -> Tensor:
        """(n, 4) -> (n, 3)."""
        return 3 * images @ self.frozen(self.ctx).tanh().T


@exercise("9.4")
def descend(answer: Callable[[Any, Tensor, Tensor, float, int], Any]) -> None:
    """Run gradient descent on the context."""
    images, labels, lr, steps = torch.randn(8, 4), torch.randint(0, 3, (8,)), 0.2, 6
    learner = _Learner()
    start = learner.ctx.detach().clone()
    fixed = learner.frozen.weight.clone()
    ctx, wanted = _descended(learner, images, labels, lr, steps, keep=0.0)
    piled_up, _ = _descended(learner, images, labels, lr, steps, keep=1.0)
    result = answer(learner, images, labels, lr, steps)

    expect(torch.equal(learner.frozen.weight, fixed), "Weights moved that are frozen.")
    expect(not torch.equal(learner.ctx, start), "The context has not moved.")
    expect(isinstance(result, (list, tuple, Tensor)), "A list of the losses is wanted.")
    losses = torch.as_tensor([float(loss) for loss in result])
    expect_not(
        learner.ctx,
        piled_up,
        "Each step takes the gradients of the steps before it as well: `backward` adds to what is "
        "there already.",
    )
    expect(losses.shape == (steps,), f"There are {len(losses)} losses. One a step is wanted.")
    expect(losses[-1] < losses[0], "The loss rises: the gradient points to where it grows.")
    expect_not(
        losses[:-1],
        wanted[1:],
        "The losses are those after each step. Wanted are those before.",
    )
    expect_close(losses, wanted, "The losses are different. Is the loss the mean over the images?")
    expect_close(learner.ctx, ctx, "The losses are right, but the last step does not lead here.")


def _descended(
    learner: _Learner, images: Tensor, labels: Tensor, lr: float, steps: int, keep: float
) -> tuple[Tensor, Tensor]:
    """Where a copy of the context goes, and its losses. ``keep``: how much of older gradients."""
    copied = _Learner()
    copied.load_state_dict(learner.state_dict())
    losses, gradient = [], torch.zeros_like(copied.ctx)
    for _ in range(steps):
        loss = cross_entropy(copied.logits(images), labels)
        gradient = keep * gradient + torch.autograd.grad(loss, copied.ctx)[0]
        losses.append(loss.item())
        copied.ctx.data -= lr * gradient
    return copied.ctx.detach(), torch.tensor(losses)
