"""What the two towers make together: lengths, scale, bias and loss."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clipnotes.probing.images import B, Images
from clipnotes.probing.pooling import Found
from clipnotes.probing.texts import Texts
from clipnotes.probing.watch import difference

OTHERS = ("image", "video", "audio")
FITS = 1e-3  # of the spread of the logits


def three(texts: Texts) -> Tensor:
    """Write as many texts as there are images, (B, L)."""
    w = texts.words
    ids = [[w[1], w[2 + i], w[5 - i], w[i], texts.end] for i in range(B)]
    return texts.rows(*ids)


def lengths(texts: Texts, images: Images) -> Found:
    """Measure the features that the model's own methods give."""
    with torch.no_grad():
        text, other = texts.features(three(texts)), images.features()  # (B, P) each
    n_text, n_other = text.shape[-1], other.shape[-1]
    shared: tuple[int | None, str] = (n_text, "numbers in each of its features")
    if n_text != n_other:
        shared = (None, f"texts have {n_text} numbers, the others {n_other}")
    norms = torch.cat([text.norm(dim=-1), other.norm(dim=-1).flatten()])
    how = f"its own features have lengths from {norms.min():.3g} to {norms.max():.3g}"
    unit = bool(((norms - 1).abs() < 1e-3).all())
    return {"shared_width": shared, "features_are_unit": (unit, how)}


def compared(texts: Texts, images: Images) -> Found:
    """Find the line that leads from similarities to logits."""
    output = _forward(texts, images)
    logits, other = (tensor.double() for tensor in _logits(output))  # (B, B), (B, P)
    text = output.text_embeds.double()  # (B, P); X-CLIP makes some for each video: (B, B, P)
    fits = {}
    for unit in (True, False):
        t, o = (F.normalize(x, dim=-1) if unit else x for x in (text, other))
        alike = torch.einsum("bd,bkd->bk", o, t) if t.dim() == 3 else o @ t.T
        fits[unit] = _line(alike, logits)
    unit = fits[True][2] <= max(fits[False][2], FITS)
    scale, bias, off = fits[unit]
    what = "cosine" if unit else "product"
    how = f"logits are {scale:.4g} * {what} {bias:+.4g}, with {off:.1g} of their spread left"
    names = ("unit_length", "scale", "bias")
    if off > FITS:
        return dict.fromkeys(names, (None, f"no line fits: {how}"))
    with torch.no_grad():
        own = F.normalize(texts.features(three(texts)).double(), dim=-1)
    if text.dim() == 3 or difference(own, F.normalize(text, dim=-1)) > FITS:
        how += "; these are not the vectors of get_text_features"
    near_zero = abs(bias) < FITS * max(1.0, abs(scale))
    return {
        "unit_length": (unit, how),
        "scale": _parameter(texts.model, scale),
        "bias": (0.0, "nothing is added") if near_zero else _parameter(texts.model, bias),
    }


def loss(texts: Texts, images: Images) -> Found:
    """Compare the model's own loss with what either formula makes of its logits."""
    if "return_loss" not in inspect.signature(texts.model.forward).parameters:
        return {"loss": (None, "its forward has no return_loss")}
    output = _forward(texts, images, return_loss=True)
    by_other = _logits(output)[0].double()  # a row for each image
    by_text = output.logits_per_text.double()  # CLAP scales these by a number of their own
    signs = 2 * torch.eye(B, device=by_text.device, dtype=by_text.dtype) - 1
    target = torch.arange(B, device=by_text.device)

    def chosen(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits, target)

    formulas = {
        "softmax": (chosen(by_text) + chosen(by_other)) / 2,
        "sigmoid": -F.logsigmoid(signs * by_text).sum(-1).mean(),
        "softmax over a text's row alone": (chosen(by_text) + chosen(by_other.T)) / 2,
    }
    theirs = float(output.loss)
    off = {name: abs(float(value) - theirs) / abs(theirs) for name, value in formulas.items()}
    name = min(off, key=lambda key: off[key])
    numbers = ", ".join(f"{key} {float(value):.4f}" for key, value in formulas.items())
    how = f"its loss is {theirs:.4f}; of its logits, {numbers}"
    return {"loss": (name.split()[0] if off[name] < FITS else None, how)}


def _forward(texts: Texts, images: Images, **kwargs: Any) -> Any:
    with torch.no_grad():
        return texts.model(input_ids=three(texts), **images.inputs, **kwargs)


def _logits(output: Any) -> tuple[Tensor, Tensor]:
    """Return the logits, a row for each image, and the images' vectors."""
    for name in OTHERS:
        if isinstance(logits := getattr(output, f"logits_per_{name}", None), Tensor):
            return logits, getattr(output, f"{name}_embeds")
    raise ValueError(f"a {type(output).__name__} has no logits for each image, video or sound")


def _line(x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Fit y = a x + b; return a, b, and which part of y's spread is left."""
    a = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    b = float(y.mean()) - a * float(x.mean())
    return a, b, float((y - a * x - b).std() / y.std())


def _parameter(model: Any, value: float) -> tuple[float, str]:
    """Find the parameter that a number comes from, which is more exact than a fit."""
    for name, weight in model.named_parameters():
        if weight.numel() == 1:
            p = float(weight)
            ways = {"": p, "exp of ": float(weight.double().exp()), "1 / ": 1 / p if p else 0.0}
            for way, number in ways.items():
                if abs(number - value) < 0.01 * abs(value):
                    return number, f"{way}{name}"
    return value, "as the line has it; no single parameter gives it"
