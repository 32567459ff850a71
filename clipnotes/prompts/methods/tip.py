"""Tip-Adapter: the training images themselves as a cache beside CLIP (Zhang et al. 2022).

https://arxiv.org/abs/2207.09519, sections 3.1 and 3.2. The nearer a training image is, the more it
speaks for its own class. That needs no training (``TipAdapter``); ``fit_tip`` moves the features.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.prompts.encode import MEMORY
from clipnotes.prompts.inputs import Images, Labels, check_labels, count_shots, labelled_features
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.published import Published, Settings, Trained
from clipnotes.prompts.methods.zero_shot import Cosine, sentence_features
from clipnotes.prompts.recipe import batches, check_weight, check_whole_numbers
from clipnotes.prompts.saved.head import Head

HELD_OUT = 4  # one image in so many is not cached while settings are chosen
ALPHAS = [10 ** (i / 10) for i in range(-10, 21)]  # 0.1 to 100; the authors' program stops at 3
BETAS = [0.2 * i for i in range(1, 36)]  # to 7


class TipAdapter(Learner):
    """Classify by a cache of training images and by a hand-written template.

    Args:
        clip: The model.
        classnames: The classes.
        images: PIL images, or their (n, P) features of unit length: the cache.
        labels: n numbers into ``classnames``, or n names out of it; each class at least once.
        template: A sentence with one ``{}``.
        alpha: How much the cache counts beside CLIP.
        beta: How near is near: a cached image speaks with exp(-beta (1 - cosine)).

    Attributes:
        keys: A parameter, (n, P): the features. Untrained, of unit length.
        labels: (n,) int64, the class of each: the values of the cache.
        class_features: (n_classes, P), unit length.
        clip, classnames, template, alpha, beta: As given.

    Raises:
        TypeError: Something of another type.
        ValueError: Names, images or labels that do not fit each other, a class without an image, a
            template without exactly one ``{}``, a number that is negative or not finite.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> tip = TipAdapter(clip, ["rose", "tulip"], torch.eye(128)[:4], [0, 1, 0, 1], alpha=99)
        >>> tip.logits(torch.eye(128)[:4]).argmax(dim=-1)
        tensor([0, 1, 0, 1])
    """

    method = "tip"
    uses_vision = True
    OPTIONS: ClassVar = {"template": str, "alpha": float, "beta": float}
    labels: Tensor
    class_features: Tensor

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        images: Images,
        labels: Labels,
        template: str = "a photo of a {}.",
        alpha: float = 1.0,
        beta: float = 5.5,
    ) -> None:
        super().__init__(clip, classnames)
        for name, value in (("alpha", alpha), ("beta", beta)):
            check_weight(name, value)
        class_features = sentence_features(clip, self.classnames, template)
        keys, numbers = labelled_features(clip, self.classnames, images, labels)
        self.keys = nn.Parameter(keys.clone())
        self.register_buffer("labels", numbers.to(keys.device))
        self.register_buffer("class_features", class_features, persistent=False)
        self.template = template
        self.alpha, self.beta = float(alpha), float(beta)

    def logits(self, image_features: Tensor) -> Tensor:
        """Compare images with every class and with the cache.

        Args:
            image_features: (n_images, P), unit length, as ``clip.encode_image`` gives them.

        Returns:
            (n_images, n_classes).

        Raises:
            ValueError: Features of another shape.
        """
        self.check_features(image_features)
        rows = max(1, MEMORY // (3 * self.keys.element_size() * len(self.keys)))
        parts = image_features.to(self.keys).split(rows)
        cosines = torch.cat([part @ self.class_features.T for part in parts])
        cached = torch.cat([self.cached(part) for part in parts])
        return compat.logits(self.clip.model, cosines) + self.alpha * cached

    def cached(self, image_features: Tensor) -> Tensor:
        """Sum what the cached images say: (n_images, P) -> (n_images, n_classes)."""
        cosines = image_features @ self.keys.T  # (n_images, n)
        near = torch.exp(-self.beta * (1 - cosines))
        sums = near.new_zeros(len(near), len(self.classnames))
        return sums.index_add(1, self.labels, near)

    def head(self) -> Head:
        """Say what is left once the classes are fixed: CLIP's vectors, and the cache."""
        plain = Cosine(self.clip, self.classnames, self.class_features).head()
        return plain.with_cache(self.keys, self.labels, self.alpha, self.beta)

    @classmethod
    def is_bound(cls, options: Mapping[str, Any]) -> bool:
        """Return True, since the cache holds images of its own classes."""
        return True

    @classmethod
    def blank(
        cls,
        clip: Clip,
        classnames: Sequence[str],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> TipAdapter:
        """Make a learner for ``tensors`` to be put in, with a cache of their size."""
        # A damaged file may have no labels; then the shapes differ, which is found afterwards.
        labels = tensors.get("labels", torch.arange(len(classnames)))
        unit = torch.eye(1, compat.shared_width(clip.model)).expand(len(labels), -1)
        return cls(clip, classnames, unit, labels, **options)


@dataclass(frozen=True)
class TipChoice:
    """What :func:`fit_tip` chose on the images that it held out.

    Attributes:
        epoch: How many epochs it trained; 0 is the cache as it was.
        alpha, beta: As in ``TipAdapter``.
        accuracy: The accuracy on the images held out, with this choice; NaN without any.
        n_held_out: How many images were held out.
    """

    epoch: int
    alpha: float
    beta: float
    accuracy: float
    n_held_out: int


def fit_tip(
    clip: Clip,
    classnames: Sequence[str],
    images: Images,
    labels: Labels,
    *,
    template: str = "a photo of a {}.",
    alpha: float = 1.0,
    beta: float = 5.5,
    epochs: int = 20,
    lr: float = 0.001,
    batch_size: int = 256,
    seed: int = 0,
) -> tuple[TipAdapter, TipChoice]:
    """Train a cache, Tip-Adapter-F, and choose its settings without looking at other images.

    First a quarter of each class's images is held out. With a cache of the others, the epoch that
    does best on them is found, then alpha and beta; the authors' program looks at test and
    validation images. At last, a cache of all images is trained as many epochs. With one image in
    each class nothing is held out. AdamW (eps 1e-4), the rate falls along a cosine, step by step.

    Args:
        clip: The model.
        classnames: The classes.
        images: As for ``TipAdapter``.
        labels: As for ``TipAdapter``.
        template: As for ``TipAdapter``.
        alpha: While it trains.
        beta: While it trains.
        epochs: At most so many; 0 trains nothing and chooses alpha and beta only.
        lr: The highest learning rate.
        batch_size: Images per step.
        seed: Decides the order of the images and which ones are held out.

    Returns:
        The adapter, and what was chosen for it.

    Raises:
        TypeError, ValueError: As ``TipAdapter``; also a recipe that makes no sense.
        FloatingPointError: The loss is not finite; try a smaller ``lr``.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> fruit = load_emoji(style=["noto", "twemoji"], category="food-fruit")
        >>> names = sorted(set(fruit["name"]))
        >>> tip, choice = fit_tip(clipnotes.load(), names, fruit["image"], fruit["name"], epochs=2)
        >>> len(tip.keys) == len(fruit), choice.n_held_out == len(names), choice.epoch <= 2
        (True, True, True)
    """
    check_whole_numbers(batch_size, seed)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise ValueError(f"epochs is {epochs!r}; give a whole number, at least 0")
    if not isinstance(lr, (int, float)) or not math.isfinite(lr) or lr <= 0:
        raise ValueError(f"lr is {lr!r}; give a number above 0, for instance 0.001")
    everything = TipAdapter(clip, classnames, images, labels, template, alpha, beta)
    features, numbers = everything.keys.detach().clone(), everything.labels
    held = _hold_out(numbers.tolist(), seed)
    recipe: dict[str, Any] = {"epochs": epochs, "lr": lr, "batch_size": batch_size, "seed": seed}
    choice = TipChoice(epochs, everything.alpha, everything.beta, math.nan, len(held))
    if held:
        kept = sorted(set(range(len(numbers))) - set(held))
        tip = TipAdapter(clip, classnames, features[kept], numbers[kept], template, alpha, beta)
        choice = _choose(tip, features[held], numbers[held], recipe)
    for epoch in _train(everything, **recipe):
        if epoch == choice.epoch:
            break
    everything.alpha, everything.beta = choice.alpha, choice.beta
    return everything, choice


def _hold_out(labels: list[int], seed: int) -> list[int]:
    """Draw rows: of each class one in four, at least one, and none of a class that has but one."""
    held = []
    for k in sorted(set(labels)):
        rows = [i for i, label in enumerate(labels) if label == k]
        n = max(1, len(rows) // HELD_OUT) if len(rows) > 1 else 0
        held += Random(f"{seed} class {k}").sample(rows, n)
    return held


def _train(tip: TipAdapter, *, epochs: int, lr: float, batch_size: int, seed: int) -> Iterator[int]:
    """Train the keys on the images that they are of; yields 0 first, then after each epoch."""
    features, labels = tip.keys.detach().clone(), tip.labels
    made = torch.optim.AdamW([tip.keys], lr=lr, eps=1e-4)
    steps = max(1, epochs * math.ceil(len(features) / batch_size))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(made, steps)
    yield 0
    for epoch in range(epochs):
        for rows in batches(len(features), batch_size, seed, epoch):
            with torch.enable_grad():
                loss = F.cross_entropy(tip.logits(features[rows]), labels[rows])
                if not loss.isfinite():
                    raise FloatingPointError(f"the loss is {loss.item()}; try a smaller lr")
                (tip.keys.grad,) = torch.autograd.grad(loss, [tip.keys])
            made.step()
            cosine.step()
            made.zero_grad()
        yield epoch + 1


@torch.no_grad()
def _choose(
    tip: TipAdapter, features: Tensor, labels: Tensor, recipe: Mapping[str, Any]
) -> TipChoice:
    def quality(logits: Tensor) -> tuple[float, float]:
        """Accuracy; of two that are equal, the smaller loss is the better."""
        right = (logits.argmax(dim=-1) == labels).float().mean()
        return right.item(), -F.cross_entropy(logits, labels).item()

    best: tuple[tuple[float, float], int, Tensor] | None = None
    for epoch in _train(tip, **recipe):
        found = quality(tip.logits(features))
        if best is None or found > best[0]:
            best = (found, epoch, tip.keys.detach().clone())
    assert best is not None
    tip.keys.copy_(best[2])
    choices = []
    tip.alpha = 0.0
    zero_shot = tip.logits(features)
    for tip.beta in BETAS:
        cached = tip.cached(features)
        choices += [(quality(zero_shot + a * cached), a, tip.beta) for a in ALPHAS]
    (accuracy, _), alpha, beta = max(choices, key=lambda one: one[0])
    return TipChoice(best[1], alpha, beta, accuracy, len(labels))


class _PublishedTip(Published):
    """A cache comes with the images, and is trained by a loop of its own, ``fit_tip``."""

    def _build(self, clip: Clip, names: Sequence[str], settings: Settings) -> Learner:
        some = clip.encode_text(list(names))  # of the right shape, until there are images
        return TipAdapter(clip, names, some, range(len(names)), template=settings.template)

    def train(
        self, learner: Learner, images: Images, labels: Labels, settings: Settings, **_: Any
    ) -> Trained:
        recipe = {**self.recipe, **settings.recipe}
        clip, names = learner.clip, learner.classnames
        shots = count_shots(check_labels(labels, names, len(images)), names)
        started = time.monotonic()
        how = {"template": settings.template, "seed": settings.seed, **recipe}
        tip, choice = fit_tip(clip, names, images, labels, **how)
        chosen = {"chosen_epoch": choice.epoch, "n_held_out": choice.n_held_out}
        told = {**self._told(settings), **recipe, **chosen}
        return Trained(tip, told, shots, time.monotonic() - started)


TIP = _PublishedTip(
    "tip",
    "Tip-Adapter-F",
    "2207.09519",
    TipAdapter,
    "a cache of the training images",
    recipe={"epochs": 20, "batch_size": 256, "lr": 0.001},
    losses=("softmax",),
)
