"""What is left of a classifier once its classes are fixed: features in, logits out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipnotes.model import unit_length

STRAIGHT = 1e-4  # of the largest logit: how far logits may be from a line
SAME = 1e-4  # how far probabilities that are computed in two ways may be apart


class Head(nn.Module):
    """Logits of image features: a vector for each class, and a cache of images if there is one.

    The logits are ``scale * features @ class_vectors.T + bias``. A cache adds
    ``alpha * exp(-beta * (1 - features @ keys.T)) @ values``.

    Args:
        class_vectors: (n_classes, P).
        scale: A number.
        bias: (n_classes,).
    """

    def __init__(self, class_vectors: Tensor, scale: float, bias: Tensor) -> None:
        super().__init__()
        self._keep(class_vectors=class_vectors, scale=torch.tensor(scale), bias=bias)

    def _keep(self, **tensors: Tensor) -> None:
        device = next(iter(tensors.values())).device
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().to(device, torch.float32))

    def with_cache(self, keys: Tensor, labels: Tensor, alpha: float, beta: float) -> Head:
        """Add a cache: features of images, (n, P), and the numbers of their classes, (n,)."""
        values = F.one_hot(labels, len(self.get_buffer("bias")))  # (n, n_classes)
        self._keep(keys=keys, values=values, alpha=torch.tensor(alpha), beta=torch.tensor(beta))
        return self

    def over(self, temperature: float) -> Head:
        """Divide the logits by a temperature, once and for all."""
        for name in {"scale", "bias", "alpha"} & {name for name, _ in self.named_buffers()}:
            self.get_buffer(name).div_(temperature)
        return self

    def forward(self, features: Tensor) -> Tensor:
        """(n, P) features of unit length -> (n, n_classes)."""
        kept = dict(self.named_buffers())
        logits = kept["scale"] * (features @ kept["class_vectors"].T) + kept["bias"]
        if "keys" in kept:
            near = torch.exp(-kept["beta"] * (1 - features @ kept["keys"].T))  # (n, n cached)
            logits = logits + kept["alpha"] * (near @ kept["values"])
        return logits


@torch.no_grad()
def read_off(logits: Callable[[Tensor], Tensor], width: int, device: torch.device) -> Head:
    """Read a head off a function from (n, P) features to logits, whoever wrote it.

    A classifier whose classes have fixed vectors gives logits that are linear in the features, up
    to a bias. So the logits of 0 are the bias, and those of the unit vectors are the matrix.

    Raises:
        ValueError: The logits are not linear.
    """
    generator = torch.Generator().manual_seed(0)
    ends = unit_length(torch.randn(4, width, generator=generator, device="cpu")).to(device)
    middles = (ends[:2] + ends[2:]) / 2
    found = logits(torch.cat([ends, middles])).float()  # (6, n_classes)
    off = (found[4:] - (found[:2] + found[2:4]) / 2).abs().max()
    if not off <= STRAIGHT * found.abs().max():
        raise ValueError(
            "its logits are not linear in the features of an image, so its classes have no fixed "
            "vectors that could be taken along. In CoCoOp each image changes the prompts of all "
            "classes, and the text tower would have to come along: learn with a method whose "
            "classes stay, such as coop or kgcoop"
        )
    points = torch.cat([torch.zeros(1, width), torch.eye(width)]).to(device)  # (1 + P, P)
    bias, *rows = logits(points).float().split([1, width])
    matrix = (rows[0] - bias).T  # (n_classes, P)
    lengths = matrix.norm(dim=-1, keepdim=True)
    scale = float(lengths.mean())
    if scale > 0 and bool(((lengths - scale).abs() <= STRAIGHT * scale).all()):
        return Head(matrix / lengths, scale, bias[0])  # cosines, times one number for all classes
    return Head(matrix, 1.0, bias[0])


def check_same(wanted: Tensor, found: Tensor, what: str) -> None:
    """Compare the classifier's own logits with the probabilities that ``what`` gives."""
    off = (wanted.float().softmax(dim=-1).cpu() - found.cpu()).abs().max()
    if not off <= SAME:
        raise ValueError(
            f"{what} gives other probabilities than the classifier: they differ by {off:.1g}, and "
            f"{SAME:.0e} is allowed. Nothing is written; please report this with the name of the "
            "model"
        )
