"""A mean of the parameters over the epochs of a training, in place of what the last one left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class EpochMean:
    """The weighted mean of what the parameters are at the end of each epoch.

    Without weights there is none, and the last epoch's parameters stay. ``sums`` are to be kept in
    a checkpoint, which knows no other epoch than the last.
    """

    def __init__(self, parameters: Mapping[str, Tensor], weights: Sequence[float] | None) -> None:
        self.parameters = parameters
        self.weights = weights or []
        self.sums = {f"mean.{n}": torch.zeros_like(p) for n, p in parameters.items() if weights}

    @torch.no_grad()
    def add(self, epoch: int) -> None:
        """Count the parameters as they are, with the weight of this epoch."""
        for total, parameter in zip(self.sums.values(), self.parameters.values(), strict=False):
            total.add_(parameter, alpha=self.weights[epoch])

    @torch.no_grad()
    def settle(self) -> None:
        """Make the mean the parameters, once all epochs have been counted."""
        for total, parameter in zip(self.sums.values(), self.parameters.values(), strict=False):
            parameter.copy_(total)
