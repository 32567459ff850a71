"""What ``fit`` makes smaller: the loss of logits and labels, summed over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipnotes import compat

Loss = Callable[[Tensor, Tensor], Tensor]  # of (n, n_classes) logits and (n,) labels


def softmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy: each image chooses one of all classes, as CLIP was trained.

    Args:
        logits: (n, n_classes).
        labels: (n,) int64.

    Returns:
        A number, the sum over images.

    Example:
        >>> softmax(torch.zeros(1, 2), torch.tensor([0])).exp()
        tensor(2.)
    """
    return F.cross_entropy(logits, labels, reduction="sum")


def sigmoid(logits: Tensor, labels: Tensor) -> Tensor:
    """Each pair of an image and a class is a yes or a no by itself, as SigLIP was trained.

    https://arxiv.org/abs/2303.15343, section 3.2: -log sigmoid(z logit), where z is 1 for an
    image's own class and -1 for the others, summed over classes.

    Args:
        logits: (n, n_classes), with the model's bias.
        labels: (n,) int64.

    Returns:
        A number, the sum over images.

    Example:
        >>> sigmoid(torch.zeros(1, 2), torch.tensor([0])).exp()  # half sure, twice
        tensor(4.)
    """
    own = F.one_hot(labels, logits.shape[1]).to(logits)  # (n, n_classes)
    return -F.logsigmoid((2 * own - 1) * logits).sum()


LOSSES: Mapping[str, Loss] = {"softmax": softmax, "sigmoid": sigmoid}


def find_loss(name: str) -> Loss:
    """Find a loss by its name."""
    if name not in LOSSES:
        raise ValueError(f"loss is {name!r}; choose {' or '.join(map(repr, LOSSES))}")
    return LOSSES[name]


def check_loss(name: str, model: Any) -> Loss:
    """Find a loss by its name, and refuse one that makes no sense for a model."""
    found = find_loss(name)
    if name == "sigmoid" and float(compat.logits(model, torch.zeros(()))) == 0:
        raise ValueError(
            f"the sigmoid loss asks whether a logit is above 0, and the logits of this "
            f"{type(model).__name__} have no bias, so every pair with a positive cosine would be "
            "taken for a match: take loss='softmax', or a SigLIP"
        )
    return found
