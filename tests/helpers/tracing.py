"""Small modules for the tests of the call tracer."""

import torch
from torch import nn

from reference import pixels


class Block(nn.Module):
    """Takes its input by keyword only, as the layers of transformers do."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, *, hidden_states, mask=None, **kwargs):
        return {"hidden_states": self.linear(hidden_states), "weights": None}


class Stack(nn.Module):
    def __init__(self, n_layers=3):
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(n_layers))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x, flag=False, *rest):
        for layer in self.layers:
            x = layer(hidden_states=x, depth=7)["hidden_states"]
        return x * self.scale, flag


class Fails(nn.Module):
    def forward(self, x):
        raise ValueError("no luck\nat all")


class Catches(nn.Module):
    """Goes on with another module after an error."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Sequential(Fails()), nn.Linear(4, 4)

    def forward(self, x):
        try:
            return self.first(x)
        except ValueError:
            return self.second(x)


def stack(n_layers=3):
    torch.manual_seed(0)
    return Stack(n_layers).eval()


def x():
    return torch.arange(8.0).reshape(2, 4)


def clip_inputs(model):
    ids = torch.tensor([[2, 5, 7, 3], [2, 9, 3, 3]])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": pixels(model.config.vision_config, seed=0),
    }


def hooks_of(model):
    kinds = [name for name in vars(model) if name.endswith(("hooks", "_with_kwargs", "_called"))]
    assert "_forward_hooks" in kinds and "_forward_hooks_always_called" in kinds
    return [list(getattr(module, kind)) for module in model.modules() for kind in kinds]
