"""Wrong answers to the exercises of chapter 15, and a part of what each is told."""

import torch
from torch.nn.functional import logsigmoid


def at(states, ids, end, house, clip=None, siglip=None):
    first = (ids == end).int().argmax(1)
    rows = torch.arange(len(states))
    if house == "bert":
        return states[:, 0]
    if house == "siglip":
        return states[rows, first] if siglip == "end" else states[:, -1]
    return states[:, -1] if clip == "last" else states[rows, first]


def judged(cosines, match, scale, bias, divide=None, only_yes=False, sign=-1):
    each = logsigmoid((2 * match - 1) * (scale * cosines + bias))
    each = each * match if only_yes else each
    return sign * each.sum() / (divide or len(cosines))


def renamed(attention, order="qkv", transpose=False):
    found = {name: attention[name] for name in ("out_proj.weight", "out_proj.bias")}
    for kind in ("weight", "bias"):
        for letter, third in zip(order, attention[f"in_proj_{kind}"].chunk(3), strict=True):
            found[f"{letter}_proj.{kind}"] = third
    if transpose:
        found = {name: weight.T if weight.dim() == 2 else weight for name, weight in found.items()}
    return found


WRONG = [
    ("15.1", lambda *given: at(*given, clip="last"), "the last place was taken"),
    ("15.1", lambda *given: at(*given, siglip="end"), "whatever stands there"),
    ("15.1", lambda states, *_: states, "one state a text"),
    ("15.1", lambda s, ids, *_: s[:, 0], "'clip' is read out at the first end"),
    ("15.2", lambda *given: judged(*given, sign=1), "The sign is wrong"),
    ("15.2", lambda *given: judged(*given, divide=16), "not by the number of pairs"),
    ("15.2", lambda *given: judged(*given, divide=1), "That is the sum"),
    ("15.2", lambda *given: judged(*given, only_yes=True), "counts as well"),
    ("15.2", lambda c, m, s, b: judged(c, m, s, 0.0), "The bias has no part"),
    ("15.2", lambda *given: torch.tensor(0.0), "Sum over all pairs"),
    (
        "15.2",
        lambda c, m, s, b: -((2 * m - 1) * (s * c + b)).sigmoid().log().sum() / len(c),
        "not exact",
    ),
    ("15.3", lambda a: {}, "These names are missing"),
    ("15.3", lambda a: renamed(a) | {"in_proj_weight": a["in_proj_weight"]}, "has no in_proj"),
    ("15.3", lambda a: renamed(a, order="kqv"), "holds other numbers"),
    ("15.3", lambda a: renamed(a, transpose=True), "are transposed"),
    (
        "15.3",
        lambda a: renamed(a) | {"q_proj.bias": a["in_proj_bias"]},
        "q_proj.bias has the shape",
    ),
]
