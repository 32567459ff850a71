"""The methods that are compared, and by which recipe each is taught.

A recipe is the authors' own, with their words about photos made words about emoji, as the model
knows them: "an emoji of a" where the papers have "a photo of a".
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import Tensor, nn

from clipnotes.prompts import (
    VPT,
    CoCoOp,
    KgCoOp,
    LinearProbe,
    MaPLe,
    NearestMean,
    PromptLearner,
    ZeroShot,
    fit,
    fit_tip,
)
from clipnotes.prompts.recipe import epochs_for
from few_shot import N_CTX, TEMPLATE

LR = 0.002  # CoOp's, and of those who follow it
WORDS = TEMPLATE.replace(" {}", "")


@dataclass(frozen=True)
class FittedMethod:
    """A method that ``fit`` teaches: how its learner is made, and its authors' recipe."""

    make: Callable[..., Any]  # clip, classnames, seed=
    recipe: dict[str, Any] = field(default_factory=dict)
    pixels: bool = False  # it encodes pictures itself

    @property
    def lr(self) -> float:
        """The authors' learning rate."""
        return self.recipe.get("lr", LR)


FITTED = {
    "CoOp": FittedMethod(partial(PromptLearner, n_ctx=N_CTX)),
    "CSC": FittedMethod(partial(PromptLearner, n_ctx=N_CTX, per_class=True)),
    "KgCoOp": FittedMethod(partial(PromptLearner, init=WORDS), {"epochs": 100, "batch_size": 128}),
    "CoCoOp": FittedMethod(partial(CoCoOp, init=WORDS), {"epochs": 10, "batch_size": 1}),
    "VPT shallow": FittedMethod(partial(VPT, depth=1, templates=TEMPLATE), VPT.recipe, pixels=True),
    "VPT deep": FittedMethod(partial(VPT, templates=TEMPLATE), VPT.recipe, pixels=True),
    "MaPLe": FittedMethod(partial(MaPLe, init="an emoji"), MaPLe.recipe, pixels=True),
}
BASELINES = ("zero-shot", "nearest mean", "linear probe")
TIPS = ("Tip-Adapter", "Tip-Adapter-F")
METHODS = (*BASELINES, *FITTED, *TIPS)


@dataclass(frozen=True)
class Taught:
    """What came out, and what it took."""

    classifier: Any
    seconds: float
    steps: int | None  # None: not taught step by step, or with a search of settings in between

    @property
    def n_parameters(self) -> int:
        """Numbers that were made from the training pictures."""
        classifier = self.classifier
        if isinstance(classifier, nn.Module):
            return sum(parameter.numel() for parameter in classifier.parameters())
        if isinstance(classifier, LinearProbe):
            return classifier.weight.numel() + classifier.bias.numel()
        return classifier.class_features.numel() if isinstance(classifier, NearestMean) else 0

    def cost(self) -> dict[str, Any]:
        """The entries of a row of results."""
        each = None if self.steps is None else self.seconds / self.steps
        return {
            "n_parameters": self.n_parameters,
            "seconds": self.seconds,
            "seconds_per_step": each,
        }


def teach(
    method: str,
    clip: Any,
    names: list[str],
    images: Tensor,
    labels: list[str],
    *,
    shots: int,
    seed: int,
    lr: float | None = None,
    epochs: int | None = None,
) -> Taught:
    """Teach a method some classes.

    Args:
        method: One of ``METHODS``.
        clip: The model.
        names: The classes.
        images: Features, or pixels for a method that encodes pictures itself.
        labels: Names, one a picture.
        shots: For how many drawings a class the number of epochs is, where it depends on them.
        seed: Of start and order.
        lr: Another learning rate than the authors', for the methods of ``FITTED``.
        epochs: Another number of epochs, likewise.
    """
    start = time.perf_counter()
    steps = None
    if method in FITTED:
        fitted, recipe = FITTED[method], dict(FITTED[method].recipe)
        classifier = fitted.make(clip, names, seed=seed)
        recipe["epochs"] = epochs or recipe.get("epochs") or epochs_for(shots)
        recipe["lr"] = fitted.lr if lr is None else lr
        if method == "KgCoOp":
            recipe["penalty"] = KgCoOp(classifier, template=f"{TEMPLATE}.")
        fit(classifier, images, labels, **recipe, seed=seed, progress=False)
        steps = recipe["epochs"] * math.ceil(len(labels) / recipe.get("batch_size", 32))
    elif method in TIPS:
        options = {"epochs": 0} if method == "Tip-Adapter" else {}
        classifier, _ = fit_tip(
            clip, names, images, labels, template=TEMPLATE, seed=seed, **options
        )
    elif method == "nearest mean":
        classifier = NearestMean(clip, names, images, labels)
    elif method == "linear probe":
        classifier = LinearProbe(clip, names, images, labels)
    else:
        classifier = ZeroShot(clip, names, TEMPLATE)
    return Taught(classifier, time.perf_counter() - start, steps)


def moved(classifier: Any, names: list[str]) -> Any:
    """The same for other classes; None if what was learned belongs to its own."""
    options = {name: getattr(classifier, name) for name in classifier.OPTIONS}
    if classifier.is_bound(options):
        return None
    state = classifier.state_dict()
    copy = classifier.blank(classifier.clip, names, options, state)
    copy.load_state_dict(state)
    return copy
