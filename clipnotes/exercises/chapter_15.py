"""Checks of chapter 15: reading texts out, the loss of pairs, and the names of open_clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import softplus

from clipnotes.exercises.marks import exercise, expect


@exercise("15.1")
def read_out(answer: Callable[[Tensor, Tensor, int, str], Tensor]) -> None:
    """Pick the state that stands for each text, as three kinds of models do."""
    states, end = torch.randn(3, 6, 4), 9
    ids = torch.tensor([[1, 5, 9, 9, 9, 9], [1, 5, 6, 7, 9, 9], [1, 5, 6, 7, 8, 9]])
    wanted = {
        "clip": states[[0, 1, 2], [2, 4, 5]],
        "siglip": states[:, -1],
        "bert": states[:, 0],
    }
    found = {house: torch.as_tensor(answer(states, ids, end, house)) for house in wanted}
    for house, result in found.items():
        expect(
            tuple(result.shape) == (3, 4),
            f"For {house!r} one state a text is asked for, (3, 4), and {tuple(result.shape)} came.",
        )
    expect(
        not torch.allclose(found["clip"], wanted["siglip"]),
        "For 'clip' the last place was taken. Behind the first end token there is only padding.",
    )
    expect(
        not torch.allclose(found["siglip"], wanted["clip"]),
        "For 'siglip' the end token was taken. It reads the last place, whatever stands there.",
    )
    for house, where in (
        ("clip", "at the first end token"),
        ("siglip", "at the last place"),
        ("bert", "at place 0"),
    ):
        expect(torch.allclose(found[house], wanted[house]), f"{house!r} is read out {where}.")


@exercise("15.2")
def pairwise_loss(answer: Callable[[Tensor, Tensor, float, float], Tensor]) -> None:
    """Judge each pair of an image and a text by itself, with several true texts an image."""
    cosines, scale, bias = torch.rand(4, 4) * 2 - 1, 12.0, -7.0
    match = torch.eye(4)
    match[0, 2] = match[3, 1] = 1.0
    logits = scale * cosines + bias
    each = match * softplus(-logits) + (1 - match) * softplus(logits)
    result = float(answer(cosines, match, scale, bias))

    def near(value: Tensor) -> bool:
        return abs(result - float(value)) < 1e-3 * max(1.0, abs(float(value)))

    expect(not near(-each.sum() / 4), "The sign is wrong: a loss is the negative logarithm.")
    expect(not near(each.mean()), "Divide by the number of images, not by the number of pairs.")
    expect(not near(each.sum()), "That is the sum. Divide it by the number of images.")
    expect(
        not near((match * softplus(-logits)).sum() / 4),
        "Only the pairs with a yes are counted. Every other pair is a no, and counts as well.",
    )
    without = scale * cosines
    lacking = match * softplus(-without) + (1 - match) * softplus(without)
    expect(not near(lacking.sum() / 4), "The bias has no part in it yet.")
    expect(near(each.sum() / 4), "Sum over all pairs, each with its own yes or no.")
    sure = answer(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), 1 - torch.eye(2), 200.0, 0.0)
    expect(
        abs(float(sure) - 400.0) < 0.1,
        "With large logits the result is not exact. Take logsigmoid: the sigmoid itself becomes 0.",
    )


@exercise("15.3")
def to_hugging_face(answer: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> None:
    """Cut the matrices of query, key and value apart, and rename all."""
    width = 6
    theirs = {
        "in_proj_weight": torch.randn(3 * width, width),
        "in_proj_bias": torch.randn(3 * width),
        "out_proj.weight": torch.randn(width, width),
        "out_proj.bias": torch.randn(width),
    }
    found = dict(answer(dict(theirs)))
    names = [
        f"{part}_proj.{kind}" for part in ("q", "k", "v", "out") for kind in ("weight", "bias")
    ]
    missing, extra = sorted(set(names) - set(found)), sorted(set(found) - set(names))
    expect(not missing, f"These names are missing: {', '.join(missing)}.")
    expect(not extra, f"CLIPAttention has no {', '.join(extra)}.")
    wanted = {name: theirs[name] for name in ("out_proj.weight", "out_proj.bias")}
    for kind in ("weight", "bias"):
        for letter, third in zip("qkv", theirs[f"in_proj_{kind}"].split(width), strict=True):
            wanted[f"{letter}_proj.{kind}"] = third
    for name in names:
        shape = tuple(wanted[name].shape)
        expect(
            tuple(found[name].shape) == shape,
            f"{name} has the shape {tuple(found[name].shape)}, and should have {shape}.",
        )
    transposed = all(torch.equal(found[n], wanted[n].T) for n in names if n.endswith("weight"))
    expect(not transposed, "The matrices are transposed; both libraries keep them the same way.")
    for name in names:
        expect(torch.equal(found[name], wanted[name]), f"{name} holds other numbers: q, k, v.")
