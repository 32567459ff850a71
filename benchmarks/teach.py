"""The methods that are compared, and the recipe that each is trained with.

A recipe is the authors' own, except that it speaks of emoji, which the model knows: it says
"an emoji of a" where the papers have "a photo of a".
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

LR = 0.002  # that of CoOp, and of the methods that follow it
WORDS = TEMPLATE.replace(" {}", "")


@dataclass(frozen=True)
class FittedMethod:
    """A method that ``fit`` trains: how to make its learner, and its authors' recipe."""

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
    """A trained classifier, and what the training cost."""

    classifier: Any
    seconds: float
    steps: int | None  # None if there are no steps, or a search of settings between them

    @property
    def n_parameters(self) -> int:
        """How many numbers were learned from the training pictures."""
        classifier = self.classifier
        if isinstance(classifier, nn.Module):
            return sum(parameter.numel() for parameter in classifier.parameters())
        if isinstance(classifier, LinearProbe):
            return classifier.weight.numel() + classifier.bias.numel()
        return classifier.class_features.numel() if isinstance(classifier, NearestMean) else 0

    def cost(self) -> dict[str, Any]:
        """Return the entries of a row of results."""
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
    """Train a method of ``METHODS`` on features, or on pixels if it encodes pictures itself.

    ``shots`` is the number of drawings per class, on which some recipes' epochs depend. ``lr`` and
    ``epochs`` replace those of the authors, for the methods of ``FITTED``.
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
    """Move a classifier to new classes; None if what it learned belongs to the old ones."""
    options = {name: getattr(classifier, name) for name in classifier.OPTIONS}
    if classifier.is_bound(options):
        return None
    state = classifier.state_dict()
    copy = classifier.blank(classifier.clip, names, options, state)
    copy.load_state_dict(state)
    return copy
