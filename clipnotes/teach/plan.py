"""How to learn from a folder: the method, how many images, and what is not as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clipnotes.checkpoints import Clip
from clipnotes.prompts.layout import Position
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods import PUBLISHED
from clipnotes.prompts.methods.published import Published, Settings
from clipnotes.prompts.recipe import learning_rates
from clipnotes.prompts.saved.card import EMBEDDED, model_name

# Fields of a plan that are arguments of a method's class, if the method has them.
OPTIONS = ("n_ctx", "init", "position", "per_class")


@dataclass(frozen=True)
class Plan:
    """How to learn: what ``clipnotes learn`` is told."""

    method: str = "coop"
    shots: int = 16
    seeds: Sequence[int] = (0,)  # each draws other images; what the first one learns is saved
    template: str | None = None  # None: one that suits the model
    n_ctx: int | None = None  # given alone, the vectors start at random
    init: str | None = None
    position: Position = "end"
    per_class: bool = False
    epochs: int | None = None  # None: as published
    lr: float | None = None
    loss: str = "softmax"  # or "sigmoid", for a model whose logits have a bias, as SigLIP's have
    brief: bool = False  # cut a training of hours short, for a comparison
    calibrate: bool = False  # find a temperature, on images that a few more trainings leave out

    def __post_init__(self) -> None:
        if self.method not in PUBLISHED:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(PUBLISHED)}")
        for name in self.options():
            if name not in self.published.options:
                raise ValueError(
                    f"the method {self.method} has no {name}; of {', '.join(OPTIONS)} it takes "
                    + (", ".join(self.published.options) or "none")
                )
        if self.shots < 1:
            raise ValueError(f"shots is {self.shots}; it must be at least 1")
        if self.calibrate and self.shots == 1:
            raise ValueError(
                "to calibrate, some images of each class are left out of a training, so shots has "
                "to be at least 2, and it is 1"
            )
        if not self.seeds:
            raise ValueError("no seed was given; give at least one")
        self.published.check_loss(self.loss)
        # `fit` checks both, but only after every image has been read. What is None is published.
        lr, epochs = 0.002 if self.lr is None else self.lr, self.epochs
        learning_rates("constant", lr, 1 if epochs is None else epochs)

    @property
    def published(self) -> Published:
        """The method, as its authors published it."""
        return PUBLISHED[self.method]

    def options(self) -> dict[str, Any]:
        """Those options of the method's class that differ from the defaults."""
        given = {name: getattr(self, name) for name in OPTIONS}
        # The attribute of the class itself is the field's default.
        return {name: value for name, value in given.items() if value != getattr(Plan, name)}

    def settings(self, clip: Clip, seed: int) -> Settings:
        """What the method is told, with this model and one of the seeds."""
        # The usual loss is not named, as on cards that were written before there was a choice.
        loss = None if self.loss == "softmax" else self.loss
        recipe = {"epochs": self.epochs, "lr": self.lr, "loss": loss}
        recipe = {name: value for name, value in recipe.items() if value is not None}
        return Settings(template_for(clip, self.template), seed, self.options(), recipe, self.brief)

    def make(self, clip: Clip, names: Sequence[str], seed: int) -> Learner:
        """Make an untrained learner of the method, or say why the model cannot carry it."""
        return self.published.make(clip, names, self.settings(clip, seed))

    def doubts(self, clip: Clip) -> list[str]:
        """Say what speaks against the recipe with this model."""
        return self.published.doubts(clip, self.settings(clip, self.seeds[0]))


def template_for(clip: Clip, template: str | None) -> str:
    """Give the template that was given, and if none was, one that suits the model."""
    if template is not None:
        return template
    return "an emoji of a {}" if model_name(clip) in EMBEDDED.values() else "a photo of a {}"


def describe(recipe: Mapping[str, Any]) -> str:
    """Say in one line how something was learned, from the recipe on its card."""
    published = PUBLISHED[recipe["method"]]
    values = ", ".join(f"{name} {value!r}" for name, value in recipe.items() if name != "method")
    return f"{published.title} (arXiv {published.paper}): {values}"
