"""ProLIP: the matrix behind the vision tower, moved a little (Fahes et al. 2024).

https://arxiv.org/abs/2410.05270. A vision tower ends in one vector of an image, and CLIP's visual
projection takes it into the space that images and texts share. Only this matrix is learned, and a
penalty keeps it near where it was. The towers run once: what they give in front of the matrix is
kept.

Recipe and loss are those of the authors' program for training without validation images,
https://github.com/astra-vision/ProLIP. Two things are different:

- They keep 300 randomly cropped and flipped views of each training image, one for each epoch. Here
  an image is seen as it is, once, as in ``fit``.
- Their logits are cosines times 100, which is CLIP's scale. Here it is the model's own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.pictures.batches import in_batches
from clipnotes.prompts.inputs import (
    Images,
    Labels,
    check_labels,
    check_pixels,
    count_shots,
    prepared,
)
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.published import Published, Settings, Trained
from clipnotes.prompts.methods.zero_shot import sentence_features
from clipnotes.prompts.recipe import learning_rates
from clipnotes.prompts.saved.head import Head, read_off


class ProLIP(Learner):
    """Learn the visual projection, beside hand-written sentences for the classes.

    It starts as the model's own, so an untrained one is zero-shot classification. The model keeps
    its matrix; the learner has a copy. Nothing in it belongs to one class.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them. Of a family whose vision tower
            ends in one matrix, which SigLIP's does not.
        classnames: One name a class, none twice.
        template: A sentence with one ``{}``.

    Attributes:
        weight: The parameter, (P, D): from the D numbers of a pooled image to the P of a feature.
        start: (P, D): the model's own matrix.
        class_features: (n_classes, P), unit length, fixed.
        clip, classnames, template: As given.

    Raises:
        TypeError: Something of another type, or a model whose vision tower does not end in a
            matrix of its own that could be learned.
        ValueError: Names that do not fit, or a template without exactly one ``{}``.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import ProLIP, fit_prolip
        >>> fruit = load_emoji(style="openmoji", category="food-fruit")
        >>> learner = ProLIP(clipnotes.load(), fruit["name"], "an emoji of a {}")
        >>> learner.weight.shape, learner.inputs(fruit["image"]).shape
        (torch.Size([128, 128]), torch.Size([20, 128]))
        >>> losses = fit_prolip(learner, fruit["image"], fruit["name"], lr=1e-3)
        >>> losses[-1] < losses[0]
        True
    """

    method = "prolip"
    uses_vision = True
    OPTIONS: ClassVar = {"template": str}
    start: Tensor
    bias: Tensor | None
    class_features: Tensor

    def __init__(
        self, clip: Clip, classnames: Sequence[str], template: str = "a photo of a {}."
    ) -> None:
        super().__init__(clip, classnames)
        family = compat.family_of(clip.model)
        projection = family.visual_projection(clip.model)
        if type(projection) is not nn.Linear:
            raise TypeError(
                f"the visual projection is a {type(projection).__name__}, and what is learned here "
                "is a plain matrix: merge or take off what was put around it"
            )
        family.vision_tower(clip.model)  # the one that the matrix stands behind
        texts = sentence_features(clip, self.classnames, template)
        start = projection.weight.detach().float().clone()
        bias = None if projection.bias is None else projection.bias.detach().float().clone()
        self.weight = nn.Parameter(start.clone())
        # Not saved: the model and the template say them again.
        self.register_buffer("start", start, persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        self.register_buffer("class_features", texts, persistent=False)
        self.template = template

    def inputs(self, images: Images) -> Tensor:
        """Run the vision tower up to the projection, which is all that ``logits`` needs of it.

        Args:
            images: PIL images, their (n, 3, S, S) pixels, or what this returns, which is checked.

        Returns:
            (n, D), float32, on the model's device, without a gradient.

        Raises:
            TypeError, ValueError: Images, pixels or vectors that the model cannot take.
        """
        if len(images) == 0:
            return torch.zeros(0, self.weight.shape[1], device=self.clip.model.device)
        checked = self.check(images)
        if isinstance(checked, Tensor) and checked.dim() == 2:
            return checked
        if isinstance(checked, Tensor):
            coming: Any = checked.split(1)
        else:
            coming = prepared(self.clip, checked)
        family = compat.family_of(self.clip.model)
        return in_batches(self.clip.model, coming, family.pooled_image).float()

    def check(self, images: Images) -> Images:
        """Check images, their pixels or their pooled vectors; PIL images are not opened yet."""
        if not isinstance(images, Tensor) or images.dim() != 2:
            return check_pixels(self.clip, images)
        width = self.weight.shape[1]
        if not images.is_floating_point() or len(images) == 0 or images.shape[1] != width:
            raise ValueError(
                f"images is a tensor of shape {tuple(images.shape)} and {images.dtype}; give PIL "
                f"images, or the (n, {width}) tensor that inputs(images) returns"
            )
        finite = images.isfinite().all(dim=1)
        if not finite.all():
            raise ValueError(f"image {int((~finite).nonzero()[0])} has a number that is not finite")
        return images.detach().to(self.clip.model.device, torch.float32)

    def may_keep(self, images: Images, views: int = 1) -> bool:
        """Return True: in place of its pixels, an image has one vector."""
        return True

    def inputs_of(self, images: Images) -> Tensor:
        """Make the pooled vectors of checked images; they may be pixels."""
        return self.inputs(images)

    def logits(self, pooled: Tensor) -> Tensor:
        """Project images and compare them with every class.

        Args:
            pooled: (n, D), as ``inputs`` gives them.

        Returns:
            (n, n_classes): cosines times the model's scale.

        Raises:
            ValueError: Vectors of another width.
        """
        width = self.weight.shape[1]
        if pooled.dim() != 2 or pooled.shape[1] != width:
            raise ValueError(
                f"the pooled images have shape {tuple(pooled.shape)}: give (n, {width}), as "
                "inputs(images) makes them"
            )
        features = F.linear(pooled.to(self.weight), self.weight, self.bias)  # (n, D) -> (n, P)
        cosines = F.normalize(features, dim=-1) @ self.class_features.T
        return compat.logits(self.clip.model, cosines)

    def head(self) -> Head:
        """Say what is left once the classes are fixed: what compares projected images."""
        model = self.clip.model
        compare = lambda features: compat.logits(model, features @ self.class_features.T)  # noqa: E731
        return read_off(compare, compat.shared_width(model), model.device)

    @contextmanager
    def seeing(self) -> Iterator[None]:
        """Put the learned matrix into the place of the model's own."""
        projection = compat.family_of(self.clip.model).visual_projection(self.clip.model)
        own = projection.weight
        projection.weight = nn.Parameter(self.weight.detach().to(own))
        try:
            yield
        finally:
            projection.weight = own

    def drift(self) -> Tensor:
        """Say how far the matrix has moved: the sum of its numbers' squared differences."""
        return (self.weight - self.start).square().sum()


def fit_prolip(
    learner: ProLIP, images: Images, labels: Labels, *, epochs: int = 300, lr: float = 1e-5
) -> list[float]:
    """Train a ``ProLIP`` in place, without held-out images.

    The loss is the cross-entropy of all images at once, plus ``drift()`` divided by the number of
    images of the class that has the fewest: the fewer there are, the less they may move. Adam (eps
    1e-4); the rate falls along a cosine.

    Args:
        learner: What is trained.
        images: PIL images, or what ``learner.inputs`` makes of them.
        labels: n numbers into ``learner.classnames``, or n names out of it; each class at least
            once.
        epochs: How many steps; each sees all images at once.
        lr: The highest learning rate.

    Returns:
        The loss in front of each step.

    Raises:
        TypeError, ValueError: Images, labels or numbers that do not fit. Nothing has changed then.
        FloatingPointError: The loss is not finite; try a smaller ``lr``.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import ProLIP, fit_prolip
        >>> fruit = load_emoji(style="openmoji", category="food-fruit")
        >>> learner = ProLIP(clipnotes.load(), fruit["name"])
        >>> len(fit_prolip(learner, fruit["image"], fruit["name"], epochs=5))
        5
    """
    learning_rates("constant", lr, epochs)  # checks both
    checked = learner.check(images)
    numbers = check_labels(labels, learner.classnames, len(checked))
    shots = count_shots(numbers, learner.classnames)
    learner.temperature = 1.0  # one that was found before is of other numbers
    return _train(learner, learner.inputs_of(checked), numbers, shots, epochs, lr)


def _train(
    learner: ProLIP, pooled: Tensor, numbers: Tensor, shots: int, epochs: int, lr: float
) -> list[float]:
    truth, losses = numbers.to(pooled.device), []
    made = torch.optim.Adam([learner.weight], lr=lr, eps=1e-4)
    for epoch in range(epochs):
        for group in made.param_groups:
            group["lr"] = lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
        with torch.enable_grad():
            loss = F.cross_entropy(learner.logits(pooled), truth) + learner.drift() / shots
            if not loss.isfinite():
                raise FloatingPointError(f"the loss is {loss.item()}; try a smaller lr")
            (learner.weight.grad,) = torch.autograd.grad(loss, [learner.weight])
        made.step()
        made.zero_grad()
        losses.append(loss.item())
    return losses


class _PublishedProLIP(Published):
    """It has no random start, and a penalty on what is learned, which ``fit`` does not know."""

    def _build(self, clip: Clip, names: Sequence[str], settings: Settings) -> Learner:
        return ProLIP(clip, names, settings.template)

    def train(
        self, learner: Learner, images: Images, labels: Labels, settings: Settings, **_: Any
    ) -> Trained:
        assert isinstance(learner, ProLIP)
        recipe: dict[str, Any] = {**self.recipe, **settings.recipe}
        numbers = check_labels(labels, learner.classnames, len(images))
        shots = count_shots(numbers, learner.classnames)
        pooled = learner.inputs(images)
        started = time.monotonic()
        fit_prolip(learner, pooled, numbers, **recipe)
        told = {**self._told(settings), **recipe, "weight": 1 / shots}
        return Trained(learner, told, shots, time.monotonic() - started)


PROLIP = _PublishedProLIP(
    "prolip",
    "ProLIP",
    "2410.05270",
    ProLIP,
    "the visual projection, kept near where it was",
    recipe={"epochs": 300, "lr": 1e-5},
    scale=100,
    losses=("softmax",),
)
