"""The methods that are compared, and by which recipe each is taught.

A recipe is the authors' own, with their words about photos made words about emoji, as the model
knows them: "an emoji of a" where the papers have "a photo of a".
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
class Method:
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
    "CoOp": Method(PUBLISHED["coop"], {"n_ctx": N_CTX}),
    "CSC": Method(PUBLISHED["csc"], {"n_ctx": N_CTX}),
    "KgCoOp": Method(PUBLISHED["kgcoop"], {"init": WORDS}, f"{TEMPLATE}."),
    "CoCoOp": Method(PUBLISHED["cocoop"], {"init": WORDS}),
    "VPT shallow": Method(PUBLISHED["vpt"], {"depth": 1}, pixels=True),
    "VPT deep": Method(PUBLISHED["vpt"], pixels=True),
    "MaPLe": Method(PUBLISHED["maple"], {"init": "an emoji"}, pixels=True),
}
BASELINES = ("zero-shot", "nearest mean", "linear probe")
TIPS = ("Tip-Adapter", "Tip-Adapter-F")
COMPARED = (*BASELINES, *FITTED, *TIPS)


@dataclass(frozen=True)
class Taught:
    """What came out, and what it took."""

    classifier: Any
    seconds: float
    steps: int | None  # None: not taught step by step, or with a search of settings in between

    def cost(self) -> dict[str, Any]:
        """The entries of a row of results."""
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
    shots: int,
    seed: int,
    lr: float | None = None,
    epochs: int | None = None,
) -> Taught:
    """Teach a method some classes.

    Args:
        method: One of ``COMPARED``.
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
        made, recipe = FITTED[method], FITTED[method].recipe
        classifier = made.make(clip, names, seed=seed)
        recipe["epochs"] = epochs or recipe.get("epochs") or epochs_for(shots)
        recipe["lr"] = made.lr if lr is None else lr
        if made.published.penalty is not None:
            recipe["penalty"] = made.published.penalty(classifier, template=made.template)
        fit(classifier, images, labels, **recipe, seed=seed, progress=False)
        steps = recipe["epochs"] * math.ceil(len(labels) / recipe["batch_size"])
    elif method in TIPS:
        given = {"epochs": 0} if method == "Tip-Adapter" else {}
        classifier, _ = fit_tip(clip, names, images, labels, template=TEMPLATE, seed=seed, **given)
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
    other = classifier.blank(classifier.clip, names, options, state)
    other.load_state_dict(state)
    return other
