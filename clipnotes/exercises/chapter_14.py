"""Checks of chapter 14: measuring an attack, staying silent, and asking for what is not there."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clipnotes.exercises.marks import exercise, expect


@exercise("14.1")
def attack_rate(
    answer: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[float, float]],
) -> None:
    """Count which images are still named rightly, and which by what is written on them."""
    texts = normalize(torch.randn(6, 8), dim=-1)
    nearest = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1, 2, 3])
    features = normalize(texts[nearest] + 0.05 * torch.randn(10, 8), dim=-1)
    right = torch.tensor([0, 1, 2, 0, 0, 0, 5, 5, 5, 5])
    written = torch.tensor([5, 5, 5, 3, 4, 4, 4, 4, 4, 4])
    fooled, still = 0.2, 0.3
    result = [float(share) for share in answer(features, texts, right, written)]
    expect(len(result) == 2, f"Two shares are asked for, and {len(result)} came.")
    expect(
        not _near(result, [fooled, still]),
        "The two shares are interchanged: first those that are still right.",
    )
    expect(
        not _near(result, [3.0, 2.0]),
        "Those are numbers of images. A share is a number divided by how many images there are.",
    )
    expect(_near(result, [still, fooled]), "Compare the nearest text of each image with both.")


@exercise("14.2")
def selective(answer: Callable[[Tensor, Tensor, float], tuple[float, float]]) -> None:
    """Answer only where the highest probability is high enough."""
    rows = [[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3], [0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]
    probabilities, labels = torch.tensor(rows), torch.tensor([0, 2, 0, 0, 2])
    result = _floats(answer(probabilities, labels, 0.6))
    expect(
        not _near(result, [0.6, 0.4]),
        "The right answers are divided by all images. Only the answered ones count.",
    )
    expect(_near(result, [0.6, 2 / 3]), "Of these images three are answered, and two rightly.")
    at_the_edge = _floats(answer(torch.tensor([[0.5, 0.5], [0.25, 0.75]]), labels[:2], 0.5))
    expect(
        _near(at_the_edge, [1.0, 0.5]),
        "A probability that equals the threshold is enough: at least, not more than.",
    )
    silent = _floats(answer(probabilities, labels, 1.1))
    expect(_near(silent, [0.0, 0.0]), "Where nothing is answered, both numbers are 0.")


@exercise("14.3")
def with_and_without(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Order images by what is wanted, with what is not wanted last."""
    features = normalize(torch.randn(9, 16), dim=-1)
    wanted, unwanted = normalize(torch.randn(2, 16), dim=-1)
    good, bad = features @ wanted, features @ unwanted
    order = sorted(range(9), key=lambda i: (bool(bad[i] > bad.median()), -float(good[i])))
    result = torch.as_tensor(answer(features, wanted, unwanted)).tolist()
    expect(sorted(result) == list(range(9)), "Each image's number is asked for, once.")
    expect(result != order[::-1], "That is upside down: the best image comes first.")
    expect(
        result != good.argsort(descending=True).tolist(),
        "The unwanted text has no part in it yet.",
    )
    expect(
        result != (good - bad).argsort(descending=True).tolist(),
        "A difference lets much of the wanted pay for some of the unwanted. The images above the "
        "median come last, however well they fit otherwise.",
    )
    expect(result == order, "First those below the median of the unwanted, then the others.")


def _floats(numbers: tuple[float, float]) -> list[float]:
    return [float(number) for number in numbers]


def _near(one: list[float], two: list[float]) -> bool:
    return len(one) == len(two) and all(abs(a - b) < 1e-5 for a, b in zip(one, two, strict=True))
