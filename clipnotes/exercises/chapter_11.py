"""Checks of chapter 11: what the methods that followed CoOp add to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not, is_close


@exercise("11.1")
def kg_penalty(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Compute what KgCoOp adds to the loss."""
    for n_classes, weight in ((5, 8.0), (3, 2.0)):
        learned, written = normalize(torch.randn(2, n_classes, 6), dim=-1)
        apart = 1 - cosine_similarity(learned, written, dim=-1)  # (C,)
        result = answer(learned, written, weight)
        expect_not(
            result,
            weight * apart,
            "That is one number per class. The loss is one number.",
        )
        expect(
            not _near(result, weight * apart.sum()),
            "That is the sum over the classes: with more classes the penalty would weigh more.",
        )
        expect(
            not _near(result, weight * (1 - apart).mean()),
            "That grows when the features come nearer to the sentences. It should fall to 0.",
        )
        expect(not _near(result, apart.mean()), "The weight has no part in it.")
        expect(
            not _near(result, weight * (1 - learned @ written.T).mean()),
            "You compare each class with the sentences of all classes. Each has its own.",
        )
        expect_close(result, (weight * apart.mean()).item(), "This is not the penalty.")


def _near(result: Any, number: Tensor) -> bool:
    return isinstance(result, (int, float, Tensor)) and is_close(
        torch.as_tensor(result).reshape(-1), number.reshape(-1)
    )


@exercise("11.2")
def tip_logits(answer: Callable[..., Tensor]) -> None:
    """Compute Tip-Adapter's logits from sentences and kept images."""
    features = normalize(torch.randn(4, 6), dim=-1)
    keys = normalize(torch.randn(7, 6), dim=-1)
    texts = normalize(torch.randn(3, 6), dim=-1)
    labels = torch.tensor([0, 2, 1, 1, 0, 2, 2])
    for scale, alpha, beta in ((16.0, 10.0, 5.5), (100.0, 1.0, 2.0)):
        by_text = scale * features @ texts.T
        near = torch.exp(-beta * (1 - features @ keys.T))  # (n, kept)
        cached = torch.stack([near[:, labels == i].sum(1) for i in range(3)], dim=1)
        counts = torch.stack([near[:, labels == i].mean(1) for i in range(3)], dim=1)
        result = answer(features, keys, labels, texts, scale, alpha, beta)
        for mistake, sentence in (
            (by_text, "Only the sentences speak: the kept images have no part in it."),
            (alpha * cached, "Only the kept images speak: the sentences have no part in it."),
            (by_text + cached, "The kept images speak as if alpha were 1."),
            (
                by_text + alpha * counts,
                "You took the mean over a class's kept images. Each of them adds its vote.",
            ),
            (
                by_text / scale + alpha * cached,
                "The cosines with the sentences are not yet logits: the scale is missing.",
            ),
        ):
            expect(alpha == 1 or not is_close(result, mistake), sentence)
        wanted = by_text + alpha * cached
        expect_close(result, wanted, "These are not Tip-Adapter's logits.", atol=1e-4)


@exercise("11.3")
def cocoop_numbers(answer: Callable[[int, int, int], int]) -> None:
    """Count the numbers that CoCoOp learns."""
    for n_ctx, width, shared in ((4, 128, 128), (16, 512, 768), (4, 64, 32)):
        hidden = shared // 16
        net = nn.Sequential(nn.Linear(shared, hidden), nn.ReLU(), nn.Linear(hidden, width))
        in_net = sum(parameter.numel() for parameter in net.parameters())
        result = answer(n_ctx, width, shared)
        case = f"With {n_ctx} vectors of {width} and features of {shared}:"
        expect(result != in_net, f"{case} that is the network. The context is learned as well.")
        expect(
            result != n_ctx * width,
            f"{case} that is the context. The network is learned as well.",
        )
        weights = shared * hidden + hidden * width
        expect(
            result not in (weights, weights + n_ctx * width),
            f"{case} the layers of the network have biases, too.",
        )
        expect_close(result, in_net + n_ctx * width, f"{case} {result} is not what there is.")


class _Mixing(nn.Module):
    """A layer that lets every token see all others, as attention does, and depends on order."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.mixed = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, 4) -> (B, L, 4)."""
        return x + (self.own(x) + self.mixed(x.cumsum(1) / x.shape[1] + x.mean(1, True))).tanh()


@exercise("11.4")
def run_deep(answer: Callable[[Sequence[Any], Tensor, Tensor], Tensor]) -> None:
    """Run layers with new prompts behind the class token of each."""
    for n_layers, n_ctx in ((3, 2), (2, 4)):
        layers = [_Mixing() for _ in range(n_layers)]
        tokens, prompts = torch.randn(2, 5, 4), torch.randn(n_layers, n_ctx, 4)
        result = answer(layers, tokens, prompts)
        length = result.shape[1] if isinstance(result, Tensor) and result.dim() == 3 else 0
        expect(
            length != 5 + n_layers * n_ctx,
            f"5 tokens became {length}: every layer adds {n_ctx}. What a layer made of its prompts "
            "gives way to the next layer's.",
        )
        expect(
            length != 5,
            "Behind the last layer the prompts are not there any more. They are tokens of its "
            "output like the others: leave them in.",
        )
        expect_not(
            result,
            _run(layers, tokens, prompts, at=1, fresh=False),
            "That is the shallow form: the first layer's prompts go all the way up.",
        )
        expect_not(
            result,
            _run(layers, tokens, prompts, at=0, fresh=True),
            "The prompts stand in front of the class token, which is read at place 0.",
        )
        wanted = _run(layers, tokens, prompts, at=1, fresh=True)
        expect_close(result, wanted, "This is not what the layers make of it.")


def _run(layers: Sequence[Any], x: Tensor, prompts: Tensor, *, at: int, fresh: bool) -> Tensor:
    """Run layers on tokens with prompts inserted from place ``at`` on."""
    n_ctx, taken = prompts.shape[1], 0
    for i, layer in enumerate(layers):
        if fresh or i == 0:
            inserted = prompts[i].expand(len(x), -1, -1)
            x = torch.cat([x[:, :at], inserted, x[:, at + taken :]], dim=1)
        x, taken = layer(x), n_ctx
    return x
