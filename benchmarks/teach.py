"""The methods that are compared, and the recipe that each is trained with.

A recipe is the authors' own, except that it speaks of emoji, which the model knows: it says
"an emoji of a" where the papers have "a photo of a".
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from clipnotes.prompts import LinearProbe, NearestMean, ZeroShot, fit, fit_tip
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.methods.published import Published, Settings
from clipnotes.prompts.recipe import epochs_for
from few_shot import N_CTX, TEMPLATE

WORDS = TEMPLATE.replace(" {}", "")


@dataclass(frozen=True)
class FittedMethod:
    """A published method that ``fit`` teaches, with words and sizes for emoji."""

    published: Published
    options: dict[str, Any] = field(default_factory=dict)
    template: str = TEMPLATE
    pixels: bool = False  # it encodes images itself

    @property
    def recipe(self) -> dict[str, Any]:
        """The authors' arguments of ``fit``."""
        return dict(self.published.recipe)

    @property
    def lr(self) -> float:
        """The authors' learning rate."""
        return self.recipe["lr"]

    def make(self, clip: Any, names: list[str], seed: int) -> Learner:
        """An untrained learner."""
        return self.published.make(clip, names, Settings(self.template, seed, self.options))


FITTED = {
    "CoOp": FittedMethod(PUBLISHED["coop"], {"n_ctx": N_CTX}),
    "CSC": FittedMethod(PUBLISHED["csc"], {"n_ctx": N_CTX}),
    "KgCoOp": FittedMethod(PUBLISHED["kgcoop"], {"init": WORDS}, f"{TEMPLATE}."),
    "CoCoOp": FittedMethod(PUBLISHED["cocoop"], {"init": WORDS}),
    "VPT shallow": FittedMethod(PUBLISHED["vpt"], {"depth": 1}, pixels=True),
    "VPT deep": FittedMethod(PUBLISHED["vpt"], pixels=True),
    "MaPLe": FittedMethod(PUBLISHED["maple"], {"init": "an emoji"}, pixels=True),
}
BASELINES = ("zero-shot", "nearest mean", "linear probe")
TIPS = ("Tip-Adapter", "Tip-Adapter-F")
COMPARED = (*BASELINES, *FITTED, *TIPS)
# Taught here, and asked by no program yet: to be asked, they join COMPARED and the plan of methods.
HEADS = {"LP++": PUBLISHED["lp++"], "ProLIP": PUBLISHED["prolip"]}


def takes_pixels(method: str) -> bool:
    """Say whether a method encodes images itself."""
    return method == "ProLIP" or (method in FITTED and FITTED[method].pixels)


@dataclass(frozen=True)
class Taught:
    """A trained classifier, and what the training cost."""

    classifier: Any
    seconds: float
    steps: int | None  # None if there are no steps, or a search of settings between them

    def cost(self) -> dict[str, Any]:
        """Return the entries of a row of results."""
        each = None if self.steps is None else self.seconds / self.steps
        return {
            "n_parameters": self.classifier.n_parameters,
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
    shots: int,  # drawings per class, on which some recipes' epochs depend
    seed: int,
    lr: float | None = None,  # this and the next replace the authors', for methods of FITTED
    epochs: int | None = None,
) -> Taught:
    """Train a method on features, or on pixels if it encodes images itself."""
    start = time.perf_counter()
    steps = None
    if method in FITTED:
        made, recipe = FITTED[method], FITTED[method].recipe
        classifier = made.make(clip, names, seed=seed)
        recipe["epochs"] = epochs or recipe.get("epochs") or epochs_for(shots)
        recipe["lr"] = made.lr if lr is None else lr
        if made.published.penalty is not None:
            recipe["penalty"] = made.published.penalty(classifier, template=made.template)
        fit(classifier, images, labels, **recipe, seed=seed, progress=False)
        steps = recipe["epochs"] * math.ceil(len(labels) / recipe["batch_size"])
    elif method in HEADS:
        own = Settings(TEMPLATE, seed, recipe={} if epochs is None else {"epochs": epochs})
        untrained = HEADS[method].make(clip, names, own)
        trained = HEADS[method].train(untrained, images, labels, own)
        classifier, steps = trained.learner, trained.recipe["epochs"]
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
