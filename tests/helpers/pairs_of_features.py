"""Features in pairs and a model that makes some, for the tests of losses of pairs."""

import torch
from torch import nn
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def pairs(n, width=4, dtype=torch.float32):
    """Features that are neither all alike nor all different, a scale and a bias: all leaves."""
    generator = torch.Generator().manual_seed(n)
    images = torch.randn(n, width, generator=generator, dtype=dtype)
    texts = images + torch.randn(n, width, generator=generator, dtype=dtype)
    scale, bias = torch.tensor([8.0], dtype=dtype), torch.tensor([-3.0], dtype=dtype)
    given = (normalize(images, dim=-1), normalize(texts, dim=-1), scale, bias)
    return [x.requires_grad_() for x in given]


class Towers(nn.Module):
    """As little as there can be of a SigLIP: two linear towers, a scale and a bias."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image = nn.Linear(4, 6)
        self.text = nn.Linear(4, 6)
        self.logit_scale = nn.Parameter(torch.tensor([2.0]))
        self.logit_bias = nn.Parameter(torch.tensor([-3.0]))

    def forward(self, images, texts, loss):
        features = (normalize(self.image(images), dim=-1), normalize(self.text(texts), dim=-1))
        return loss(*features, self.logit_scale.exp(), self.logit_bias)


class Largest(TorchDispatchMode):
    """Watches how many numbers the largest tensor has."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(made) if isinstance(x, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return made


def largest(loss, *given, **kwargs):
    with Largest() as watched:
        loss(*given, **kwargs).backward()
    return watched.numbers
