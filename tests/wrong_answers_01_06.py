"""Wrong answers to the exercises of chapters 1 to 6, and a part of what each is told."""

import torch

# 3. Inside an encoder layer


def not_scaled(q, k, v):
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def scaled_by_the_width(q, k, v):
    return (q @ k.transpose(-1, -2) / q.shape[-1]).softmax(-1) @ v


def over_those_who_ask(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-2) @ v


def no_softmax(q, k, v):
    return q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 @ v


def only_the_weights(q, k, v):
    return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)


WRONG = [
    ("3.1", not_scaled, "still grow with the width"),
    ("3.1", scaled_by_the_width, "not PyTorch's"),
    ("3.1", over_those_who_ask, "over the wrong axis"),
    ("3.1", no_softmax, "no weights yet"),
    ("3.1", only_the_weights, "These are the weights"),
    ("3.1", lambda q, k, v: torch.zeros(1), "The shape is (1,)"),
]
