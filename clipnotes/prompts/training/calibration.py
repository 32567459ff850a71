"""Whether probabilities are to be believed: how far off they are, and one number that helps.

Guo et al. 2017, https://arxiv.org/abs/1706.04599. Of the images that a classifier is 80 % sure of,
it should get 80 % right.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15  # the paper's


def calibration_error(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Compute the expected calibration error.

    The probability of the class that is said is the confidence. Confidences from 0 to 1 are put
    into 15 bins of equal width; one on an edge belongs to the bin below it. In each bin, the
    error is the distance between the mean confidence and the part that is right. Bins count by how
    many images they have.

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
