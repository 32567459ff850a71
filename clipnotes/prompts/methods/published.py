"""A method as its authors published it: how it is called, made and trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipnotes.checkpoints import Clip
from clipnotes.prompts.inputs import Images, Labels
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.recipe import sgd
from clipnotes.prompts.training.fit import MakeOptimizer, fit
from clipnotes.prompts.training.losses import LOSSES, check_loss, find_loss
from clipnotes.prompts.training.penalties import Penalty, made_with


@dataclass(frozen=True)
class Settings:
    """What a method is told: what only the user knows, and what is to differ from the paper.

    Attributes:
        template: The hand-written sentence, for methods that have one.
        seed: Decides a random start and the order of images.
        options: Arguments of the class, in place of the published ones.
        recipe: Arguments of ``fit``, in place of the published ones.
        brief: Whether a training that would take hours is to be cut short, for a comparison.
    """

    template: str
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    brief: bool = False


@dataclass(frozen=True)
class Trained:
    """A learner that has been trained, or a baseline that was made.

    Attributes:
        learner: What was trained.
        recipe: What it was trained with, for the card; ``method`` is the first.
        shots: How many images the class with the fewest has.
        seconds: How long the training alone took. Images were encoded or prepared before, unless
            their pixels are too many to be kept.
    """

    learner: Any
    recipe: dict[str, Any]
    shots: int
    seconds: float


@dataclass(frozen=True)
class Published:
    """A method: its paper, its class, and its authors' recipe.

    Attributes:
        name: Its short name, as on the command line.
        title: What the paper calls it.
        paper: Its number on arXiv.
        learner: The class.
        summary: What is learned, in one line.
        options: Arguments of the class that a user may choose.
        start: Arguments of the class, unless the user chooses others.
        recipe: Arguments of ``fit``. Without ``epochs``, the number of shots decides, as for CoOp.
        template: The argument that is the hand-written sentence, if the class has one.
        penalty: What makes the penalty of a learner and a template, if there is one.
        scale: What the model's must be for the recipe to work well, if that matters.
        losses: The losses that it can be trained with.
        optimizer: What makes the optimizer, if it is not CoOp's.

    Example:
        >>> import clipnotes, torch
        >>> from clipnotes.prompts.methods import PUBLISHED
        >>> kgcoop = PUBLISHED["kgcoop"]
        >>> settings = Settings("an emoji of a {}", recipe={"epochs": 2})
        >>> learner = kgcoop.make(clipnotes.load(), ["rose", "tulip"], settings)
        >>> kgcoop.train(learner, torch.eye(128)[:2], [0, 1], settings).recipe["batch_size"]
        128
    """

    name: str
    title: str
    paper: str
    learner: type[Learner]
    summary: str
    options: tuple[str, ...] = ()
    start: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    template: str | None = None
    penalty: Callable[..., Penalty] | None = None
    scale: float | None = None
    losses: tuple[str, ...] = tuple(LOSSES)
    optimizer: MakeOptimizer = sgd

    def check_loss(self, loss: str) -> None:
        """Refuse a loss that is not there, or that the method cannot be trained with.

        Args:
            loss: As for ``fit``.

        Raises:
            ValueError: Why it cannot.

        Example:
            >>> from clipnotes.prompts.methods import PUBLISHED
            >>> PUBLISHED["tip"].check_loss("sigmoid")
            Traceback (most recent call last):
            ValueError: the method tip is trained by a loop of its own, ...
        """
        find_loss(loss)
        if loss not in self.losses:
            raise ValueError(
                f"the method {self.name} is trained by a loop of its own, with the "
                f"{' or '.join(self.losses)} loss, and knows no {loss} loss: leave the loss out, "
                "or take another method"
            )

    def missing(self) -> str | None:
        """Say what has to be installed before the method can be used, if anything."""
        return None

    def make(self, clip: Clip, names: Sequence[str], settings: Settings) -> Learner:
        """Make an untrained learner. Whether the model can carry the method shows here.

        Args:
            clip: The model.
            names: The classes.
            settings: What is to differ from the paper.

        Raises:
            ValueError: The model cannot; behind the method's name stands what its class says, or
                why the loss makes no sense for it. A loss that the method cannot be trained with.

        Example:
            >>> import clipnotes
            >>> from clipnotes.prompts.methods import PUBLISHED
            >>> too_many = Settings("a photo of a {}", options={"n_ctx": 60})
            >>> PUBLISHED["coop"].make(clipnotes.load(), ["rose", "tulip"], too_many)
            Traceback (most recent call last):
            ValueError: coop: class 'rose' takes 3 tokens...
        """
        loss = settings.recipe.get("loss", "softmax")
        self.check_loss(loss)
        try:
            check_loss(loss, clip.model)
            learner = self._build(clip, names, settings)
            self._penalty_of(learner, settings)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name}: {error}") from error
        return learner

    def train(
        self,
        learner: Learner,
        images: Images,
        labels: Labels,
        settings: Settings,
        *,
        checkpoint: Path | None = None,
        progress: bool = False,
    ) -> Trained:
        """Train what ``make`` made, by the published recipe or what the settings have instead.

        Args:
            learner: Made with the same settings.
            images: PIL images, or what the learner takes in their place.
            labels: n numbers into the learner's ``classnames``, or n names out of it.
            settings: What is to differ from the paper.
            checkpoint: As for ``fit``. A cache is trained too soon to keep one.
            progress: Show a bar on stderr.

        Raises:
            ValueError: A class without an image; a checkpoint of another run.
            FloatingPointError: Training diverged.
        """
        recipe = {**self.recipe, **settings.recipe}
        penalty = self._penalty_of(learner, settings)
        # Files are opened once, unless their pixels are too many to be kept.
        inputs = learner.inputs_of(images) if learner.may_keep(images) else images
        history = fit(
            learner,
            inputs,
            labels,
            **recipe,
            optimizer=self.optimizer,
            penalty=penalty,
            seed=settings.seed,
            checkpoint=checkpoint,
            progress=progress,
        )
        told = {**self._told(settings), "epochs": history.epochs, **recipe}
        if penalty is not None:
            told |= made_with(penalty)
        return Trained(learner, told, history.shots, history.seconds)

    def doubts(self, clip: Clip, settings: Settings) -> list[str]:
        """Say what speaks against the recipe with this model."""
        scale = clip.model.logit_scale.detach().exp().item()
        if self.scale is None or scale > self.scale / 2 or "lr" in settings.recipe:
            return []
        return [
            f"the recipe of {self.name} is for models with a scale of {self.scale:.0f}, and this "
            f"one has {scale:.0f}, with which it learns slowly; a higher lr may help"
        ]

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What the class is made with: the published start, with the options in its place."""
        start = dict(self.start)
        if "n_ctx" in options and "init" in start:
            start["init"] = None  # the published words may be another number of tokens
        return {**start, **options}

    def _build(self, clip: Clip, names: Sequence[str], settings: Settings) -> Learner:
        arguments = {**self.arguments(settings.options), "seed": settings.seed}
        if self.template is not None:
            arguments[self.template] = settings.template
        return self.learner(clip, names, **arguments)

    def _penalty_of(self, learner: Learner, settings: Settings) -> Penalty | None:
        return None if self.penalty is None else self.penalty(learner, template=settings.template)

    def _told(self, settings: Settings) -> dict[str, Any]:
        """How the recipe on a card begins."""
        init = self.arguments(settings.options).get("init")
        return {"method": self.name} | ({} if init is None else {"init": init})
