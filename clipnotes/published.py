"""Each method as its authors published it: by its short name, made and trained by their recipe."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipnotes.checkpoints import Clip
from clipnotes.pictures.shots import Pictures
from clipnotes.prompts import VPT, CoCoOp, KgCoOp, MaPLe, PromptLearner, TipAdapter, fit, fit_tip
from clipnotes.prompts.classifier import Learner
from clipnotes.prompts.inputs import count_shots, may_keep
from clipnotes.prompts.layout import Position
from clipnotes.prompts.methods.vpt import VisualLearner
from clipnotes.prompts.recipe import learning_rates
from clipnotes.prompts.saved.card import EMBEDDED, model_name


@dataclass(frozen=True)
class Method:
    """What is to know about a method.

    Attributes:
        title: What the paper calls it.
        paper: Its number on arXiv.
        kind: The class.
        takes: The options of a Plan that it has.
        start: Arguments of the class, unless the plan has others.
        recipe: Arguments of ``fit``. Without ``epochs``: by the number of shots, as CoOp.
        template: The argument that is the hand-written sentence, if the class has one.
    """

    title: str
    paper: str
    kind: type[Learner]
    takes: tuple[str, ...]
    start: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None


_WORDS = {"init": "a photo of a"}
_COOP = {"batch_size": 32, "lr": 0.002}
_KGCOOP = {"epochs": 100, "batch_size": 128, "lr": 0.002}
_COCOOP = {"epochs": 10, "batch_size": 1, "lr": 0.002}
_TIP = {"epochs": 20, "batch_size": 256, "lr": 0.001}
_SHARED = ("n_ctx", "init", "position")

METHODS: Mapping[str, Method] = {
    "coop": Method("CoOp", "2109.01134", PromptLearner, (*_SHARED, "per_class"), {}, _COOP),
    "csc": Method("CoOp, CSC", "2109.01134", PromptLearner, _SHARED, {"per_class": True}, _COOP),
    "kgcoop": Method("KgCoOp", "2303.13283", PromptLearner, _SHARED, _WORDS, _KGCOOP),
    "cocoop": Method("CoCoOp", "2203.05557", CoCoOp, _SHARED, _WORDS, _COCOOP),
    "vpt": Method("VPT-Deep", "2203.12119", VPT, ("n_ctx",), {}, VPT.recipe, "templates"),
    "maple": Method(
        "MaPLe", "2210.03117", MaPLe, ("n_ctx", "init"), {"init": "a photo"}, MaPLe.recipe
    ),
    "tip": Method("Tip-Adapter-F", "2207.09519", TipAdapter, (), {}, _TIP, "template"),
}


@dataclass(frozen=True)
class Plan:
    """How to learn: what ``clipnotes learn`` is told.

    Attributes:
        method: A key of ``METHODS``.
        shots: Pictures a class to learn from.
        seeds: Each draws other pictures and starts elsewhere; what the first one learns is saved.
        template: The hand-written sentence: of zero-shot, and of methods that have one. None: one
            that suits the model.
        n_ctx, init, position, per_class: As in the method's class, if it has them. None: as
            published. With ``n_ctx`` alone, the vectors start at random.
        epochs, lr: None: as published.

    Raises:
        ValueError: No such method, an option that it does not have, no seed, less than one shot or
            epoch, or no learning rate.

    Example:
        >>> Plan("vpt", position="front")
        Traceback (most recent call last):
        ValueError: the method vpt has no position; of these options it takes n_ctx
    """

    method: str = "coop"
    shots: int = 16
    seeds: Sequence[int] = (0,)
    template: str | None = None
    n_ctx: int | None = None
    init: str | None = None
    position: Position = "end"
    per_class: bool = False
    epochs: int | None = None
    lr: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"no method {self.method!r}; there are {', '.join(METHODS)}")
        takes = METHODS[self.method].takes
        for name in self.given():
            if name not in takes:
                raise ValueError(
                    f"the method {self.method} has no {name}; of these options it takes "
                    + (", ".join(takes) or "none")
                )
        if self.shots < 1:
            raise ValueError(f"shots is {self.shots}; it must be at least 1")
        if not self.seeds:
            raise ValueError("no seed was given; give at least one")
        rate = 0.002 if self.lr is None else self.lr
        learning_rates("constant", rate, 1 if self.epochs is None else self.epochs)

    def given(self) -> dict[str, Any]:
        """Those options of a class that are not as they are anyway."""
        options = ("n_ctx", "init", "position", "per_class")
        defaults = type(self).__dataclass_fields__
        values = {name: getattr(self, name) for name in options}
        return {name: value for name, value in values.items() if value != defaults[name].default}


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        learner: It.
        recipe: What it was trained with, for the card; ``method`` is the first.
        shots: Pictures of the class that has the fewest.
        seconds: Of the training alone; pictures were encoded or prepared before, unless their
            pixels are too many to be kept.
    """

    learner: Learner
    recipe: dict[str, Any]
    shots: int
    seconds: float


def sentence(clip: Clip, template: str | None) -> str:
    """Give the template, or if there is none, one that suits the model.

    Example:
        >>> import clipnotes
        >>> sentence(clipnotes.load(), None)
        'an emoji of a {}'
    """
    if template is not None:
        return template
    return "an emoji of a {}" if model_name(clip) == EMBEDDED else "a photo of a {}"


def make(clip: Clip, names: Sequence[str], plan: Plan, seed: int) -> Learner:
    """Make an untrained learner. Whether the model can carry the method shows here.

    Args:
        clip: The model.
        names: The classes.
        plan: Its method and options.
        seed: Of a random start.

    Raises:
        ValueError: The model cannot; behind the method's name stands what its class says.

    Example:
        >>> import clipnotes
        >>> make(clipnotes.load(), ["rose", "tulip"], Plan("kgcoop"), seed=0).n_ctx
        4
        >>> make(clipnotes.load(), ["rose", "tulip"], Plan(n_ctx=60), seed=0)
        Traceback (most recent call last):
        ValueError: coop: class 'rose' takes 3 tokens...
    """
    method = METHODS[plan.method]
    arguments: dict[str, Any] = _arguments(plan)
    if method.template is not None:
        arguments[method.template] = sentence(clip, plan.template)
    try:
        if method.kind is TipAdapter:
            # Its cache comes with the pictures. Until then, something of the right shape.
            some = clip.encode_text(list(names))
            arguments |= {"images": some, "labels": range(len(names))}
        else:
            arguments["seed"] = seed
        learner = method.kind(clip, names, **arguments)
        if plan.method == "kgcoop":
            _penalty(learner, plan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{plan.method}: {error}") from error
    return learner


def train(
    learner: Learner,
    pictures: Pictures,
    plan: Plan,
    seed: int,
    *,
    checkpoint: Path | None = None,
    progress: bool = False,
) -> Trained:
    """Train what ``make`` made, by the published recipe or what the plan has instead.

    Args:
        learner: Made by the same plan.
        pictures: All of them.
        plan: Its method, epochs and learning rate.
        seed: Of the order of pictures.
        checkpoint: As for ``fit``. A cache is trained too soon to keep one.
        progress: Show a bar on stderr.

    Raises:
        ValueError: A class without a picture; a checkpoint of another run.
        FloatingPointError: Training diverged.
    """
    recipe: dict[str, Any] = dict(METHODS[plan.method].recipe)
    recipe |= {k: v for k in ("epochs", "lr") if (v := getattr(plan, k)) is not None}
    said = {"method": plan.method}
    if _arguments(plan).get("init") is not None:
        said["init"] = _arguments(plan)["init"]
    shots = count_shots(pictures.labels, learner.classnames)
    if isinstance(learner, TipAdapter):
        started = time.monotonic()
        learner, choice = fit_tip(
            learner.clip,
            learner.classnames,
            pictures.features,
            pictures.labels,
            template=learner.template,
            seed=seed,
            **recipe,
        )
        chosen = {"chosen_epoch": choice.epoch, "n_held_out": choice.n_held_out}
        return Trained(learner, {**said, **recipe, **chosen}, shots, time.monotonic() - started)
    penalty = _penalty(learner, plan) if plan.method == "kgcoop" else None
    inputs = pictures.suited(learner)
    if isinstance(learner, VisualLearner) and may_keep(learner, inputs):
        inputs = learner.inputs(inputs)  # opened once
    history = fit(
        learner,
        inputs,
        pictures.labels,
        **recipe,
        penalty=penalty,
        seed=seed,
        checkpoint=checkpoint,
        progress=progress,
    )
    recipe = {"epochs": history.epochs, **recipe}
    if penalty is not None:
        recipe |= {"weight": penalty.weight, "template": penalty.template}
    return Trained(learner, {**said, **recipe}, shots, history.seconds)


def doubts(clip: Clip, plan: Plan) -> list[str]:
    """Say what speaks against a recipe with this model.

    Example:
        >>> import clipnotes
        >>> doubts(clipnotes.load(), Plan()), len(doubts(clipnotes.load(), Plan("vpt")))
        ([], 1)
    """
    scale = clip.model.logit_scale.detach().exp().item()
    if (
        plan.lr is not None
        or scale > 50
        or not issubclass(METHODS[plan.method].kind, VisualLearner)
    ):
        return []
    return [
        f"the recipe of {plan.method} is for models with a temperature of 100, and this one has "
        f"{scale:.0f}, with which it learns slowly; a higher lr may help"
    ]


def describe(recipe: Mapping[str, Any]) -> str:
    """Say in one line how something was learned.

    Example:
        >>> describe({"method": "kgcoop", "epochs": 100, "init": "a photo of a"})
        "KgCoOp (arXiv 2303.13283): epochs 100, init 'a photo of a'"
    """
    method = METHODS[recipe["method"]]
    said = ", ".join(f"{name} {value!r}" for name, value in recipe.items() if name != "method")
    return f"{method.title} (arXiv {method.paper}): {said}"


def _arguments(plan: Plan) -> dict[str, Any]:
    given = plan.given()
    start = dict(METHODS[plan.method].start)
    if "n_ctx" in given and "init" in start:
        start["init"] = None  # the published words are so many tokens, and others were asked for
    return {**start, **given}


def _penalty(learner: Learner, plan: Plan) -> KgCoOp:
    assert isinstance(learner, PromptLearner)
    return KgCoOp(learner, template=sentence(learner.clip, plan.template))
