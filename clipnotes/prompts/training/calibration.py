"""Whether probabilities are to be believed: how far off they are, and one number that helps.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Of the images that a classifier is 80 % sure of,
it should get 80 % right.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15  # the paper's
LARGEST = 1e6  # a scale that makes any difference certain


def calibration_error(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Compute the expected calibration error.

    The probability of the class that is said is the confidence. Confidences from 0 to 1 are put
    into 15 bins of equal width. In each bin, the error is the distance between the mean confidence
    and the part that is right. Bins count by how many images they have.

    Args:
        logits: (n, n_classes).
        labels: (n,) int64, the true classes.
        temperature: What divides the logits first.

    Returns:
        From 0 to 1; 0 is best.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[0.8, 0.2]] * 4).log()  # four times 80 %, and right three times
        >>> round(calibration_error(sure, torch.tensor([0, 0, 0, 1])), 3)
        0.05
    """
    probabilities = (logits.double() / temperature).softmax(dim=-1)  # (n, n_classes)
    confidence, said = probabilities.max(dim=-1)  # (n,) each
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64, device=logits.device)
    bins = torch.bucketize(confidence, edges[1:-1])  # (n,), from 0 to 14
    gaps = (said == labels).double() - confidence
    # A bin's share of the images times its mean gap is the sum of its gaps, divided by all.
    sums = gaps.new_zeros(BINS).index_add(0, bins, gaps)
    return (sums.abs().sum() / len(labels)).item()


def best_temperature(logits: Tensor, labels: Tensor) -> float | None:
    """Find the temperature with which some held-out images are likeliest to have their classes.

    It minimises the cross-entropy of ``logits / temperature``, which has one minimum at most, as it
    is convex in ``1 / temperature``. A temperature changes how sure a classifier is, and never
    which class it says.

    Args:
        logits: (n, n_classes), of images that were not learned from.
        labels: (n,) int64, the true classes.

    Returns:
        A number above 0, or None if there is no best one: if every image is named right, the surer
        the better; and if they are named worse than by chance, the less sure the better.

    Example:
        >>> import torch
        >>> twice = 2 * torch.tensor([[0.8, 0.2]] * 5).log()  # the logits of 80 %, doubled
        >>> round(best_temperature(twice, torch.tensor([0, 0, 0, 0, 1])), 4)
        2.0
    """
    z, y = logits.detach().double().cpu(), labels.cpu()
    own = z.gather(1, y[:, None]).mean()

    def slope(scale: float) -> float:
        """The derivative of the cross-entropy by the scale, which only grows with the scale."""
        return (((scale * z).softmax(dim=-1) * z).sum(dim=-1).mean() - own).item()

    low, high = 0.0, 1.0
    if bool((z.argmax(dim=-1) == y).all()) or slope(low) >= 0:
        return None
    while slope(high) < 0 and high < LARGEST:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / high
