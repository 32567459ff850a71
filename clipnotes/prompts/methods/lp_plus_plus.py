"""LP++: a linear probe that may also lean on the text (Huang et al. 2024).

https://arxiv.org/abs/2404.02285. A class is a vector of its own plus a learned multiple of its text
feature. Both are learned in turns, with steps whose lengths follow from the images, so there is no
learning rate to search for, and the loss cannot rise.

The start, the lengths of the steps and their order are those of the authors' program,
https://github.com/FereshteShakeri/FewShot-CLIP-Strong-Baseline. Four things are different:

- Their start of alpha is 250 times a mean cosine, for CLIP, whose scale is 100. Here it is 2.5
  times the model's scale, which is the same for CLIP. With 250, Emoji-CLIP, whose scale is 16,
  would listen to little but the text.
- Their steps have momentum, move a bias that starts at random, and take alpha's gradient from
  before the weights moved. The formula has no bias, and one block at a time, without momentum, each
  step is one that cannot raise the loss.
- They keep the iteration that does best on validation images. Here the last one counts.
- They see each training image once as a random crop. Here it is seen as it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.prompts.inputs import Images, Labels, check_labels, count_shots, labelled_features
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.published import Published, Settings, Trained
from clipnotes.prompts.methods.zero_shot import sentence_features

ALPHA = 2.5  # alpha starts at the mean cosine, times the model's scale, times this
ALPHA_EVERY = 10  # alpha takes one step in so many


class LPPlusPlus(Learner):
    """Compare images with a vector of each class, plus a multiple of its text feature.

    The logit of an image f for the class k is ``f @ (weight[k] + alpha[k] * t[k])``, with the text
    feature t of a hand-written sentence. No scale stands before it: alpha takes its place. Images
    and labels say where weight and alpha start, and ``fit_lp_plus_plus`` trains them.

    Args:
        clip: The model.
        classnames: The classes.
        images: PIL images, or their (n, P) features of unit length.
        labels: n numbers into ``classnames``, or n names out of it; each class at least once.
        template: A sentence with one ``{}``.

    Attributes:
        weight: A parameter, (n_classes, P). It starts as the sum of each class's features: their
            mean, times their number.
        alpha: A parameter, (n_classes,). All start alike: at 2.5 times the model's scale, times the
            cosine of an image with its own class's text, averaged over the images of a class and
            then over the classes.
        class_features: (n_classes, P), unit length: the texts, fixed.
        clip, classnames, template: As given.

    Raises:
        TypeError: Something of another type.
        ValueError: Names, images or labels that do not fit each other, a class without an image, a
            template without exactly one ``{}``.

    Example:
        >>> import clipnotes
        >>> from clipnotes.prompts import LPPlusPlus
        >>> images, labels = torch.eye(128)[:4], [0, 1, 0, 1]
        >>> probe = LPPlusPlus(clipnotes.load(), ["rose", "tulip"], images, labels)
        >>> probe.weight.shape, probe.alpha.shape
        (torch.Size([2, 128]), torch.Size([2]))
    """

    method = "lp++"
    uses_vision = True
    OPTIONS: ClassVar = {"template": str}
    class_features: Tensor

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        images: Images,
        labels: Labels,
        template: str = "a photo of a {}.",
    ) -> None:
        super().__init__(clip, classnames)
        texts = sentence_features(clip, self.classnames, template)
        features, numbers = labelled_features(clip, self.classnames, images, labels)
        numbers = numbers.to(features.device)
        counts = torch.bincount(numbers, minlength=len(texts))
        sums = torch.zeros_like(texts).index_add(0, numbers, features)  # (n_classes, P)
        own = (sums * texts).sum(dim=-1) / counts  # (n_classes,): mean cosine with the own text
        self.weight = nn.Parameter(sums)
        scale = clip.model.logit_scale.detach().exp().to(own)
        self.alpha = nn.Parameter((ALPHA * scale * own.mean()).expand(len(texts)).clone())
        # It is not saved: the model and the template say it again.
        self.register_buffer("class_features", texts, persistent=False)
        self.template = template

    def logits(self, image_features: Tensor) -> Tensor:
        """Compare images with every class.

        Args:
            image_features: (n_images, P), unit length, as ``clip.encode_image`` gives them.

        Returns:
            (n_images, n_classes).

        Raises:
            ValueError: Features of another shape.
        """
        self.check_features(image_features)
        classes = self.weight + self.alpha[:, None] * self.class_features  # (n_classes, P)
        return image_features.to(classes) @ classes.T

    @classmethod
    def is_bound(cls, options: Mapping[str, Any]) -> bool:
        """Return True, since each class has a vector and a multiple of its own."""
        return True

    @classmethod
    def blank(
        cls,
        clip: Clip,
        classnames: Sequence[str],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> LPPlusPlus:
        """Make a learner for ``tensors`` to be put in; no image is needed for that."""
        unit = torch.eye(1, compat.shared_width(clip.model)).expand(len(classnames), -1)
        return cls(clip, classnames, unit, range(len(classnames)), **options)


def fit_lp_plus_plus(
    clip: Clip,
    classnames: Sequence[str],
    images: Images,
    labels: Labels,
    *,
    template: str = "a photo of a {}.",
    epochs: int = 300,
) -> tuple[LPPlusPlus, list[float]]:
    """Train a linear probe that may lean on the text, without a learning rate or held-out images.

    The loss is the cross-entropy of all images at once. Its gradient changes at most so fast, and
    that bounds how far a step may go: with the largest eigenvalue of the features' Gram matrix,
    ``4 n / eigenvalue`` for the weights; ``n / (4 m)`` for alpha, with the largest sum m, over the
    images, of squared cosines with one of the texts. The weights move in every iteration, alpha in
    every tenth. The curvature of the loss is at most ``eigenvalue / 2n`` and ``m / 2n``, and a step
    of up to 2 / curvature cannot raise it: the first is exactly as long, the second far shorter.

    Args:
        clip: The model.
        classnames: The classes.
        images: As for ``LPPlusPlus``.
        labels: As for ``LPPlusPlus``.
        template: As for ``LPPlusPlus``.
        epochs: How many iterations; each sees all images at once.

    Returns:
        The probe, and the loss before each iteration.

    Raises:
        TypeError, ValueError: As ``LPPlusPlus``; also ``epochs`` that is not at least 1.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import fit_lp_plus_plus
        >>> fruit = load_emoji(style=["noto", "twemoji"], category="food-fruit")
        >>> names = sorted(set(fruit["name"]))
        >>> clip = clipnotes.load()
        >>> probe, losses = fit_lp_plus_plus(clip, names, fruit["image"], fruit["name"])
        >>> len(losses), losses[-1] < losses[0] / 2
        (300, True)
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs is {epochs!r}; give a whole number of at least 1")
    features, numbers = labelled_features(clip, classnames, images, labels)
    probe = LPPlusPlus(clip, classnames, features, numbers, template)
    return probe, list(_descend(probe, features, numbers.to(features.device), epochs))


def step_sizes(features: Tensor, texts: Tensor) -> tuple[float, float]:
    """How long the steps of weight and alpha are, from (n, P) features and (n_classes, P) texts."""
    x = features.double().cpu()  # (n, P); not every device has eigenvalues
    curved = torch.linalg.eigvalsh(x.T @ x)[-1]
    most = (x @ texts.double().cpu().T).square().sum(dim=0).max()  # over the images; of the classes
    return 4 * len(x) / curved.item(), len(x) / (4 * most.item())


def _descend(probe: LPPlusPlus, features: Tensor, labels: Tensor, epochs: int) -> Iterator[float]:
    """Move the weights, and every tenth time alpha too; yield the loss in front of the first."""
    of_weight, of_alpha = step_sizes(features, probe.class_features)
    for epoch in range(epochs):
        yield _step(probe, features, labels, probe.weight, of_weight)
        if (epoch + 1) % ALPHA_EVERY == 0:
            _step(probe, features, labels, probe.alpha, of_alpha)


def _step(
    probe: LPPlusPlus, features: Tensor, labels: Tensor, block: nn.Parameter, size: float
) -> float:
    """Move one block against its gradient, the other held; return the loss before that."""
    with torch.enable_grad():
        loss = F.cross_entropy(probe.logits(features), labels)
        (gradient,) = torch.autograd.grad(loss, [block])
    with torch.no_grad():
        block.sub_(size * gradient)
    return loss.item()


class _PublishedLPPlusPlus(Published):
    """It starts from the images, and its steps are not those of ``fit``."""

    def _build(self, clip: Clip, names: Sequence[str], settings: Settings) -> Learner:
        if "lr" in settings.recipe:
            raise ValueError("the lengths of its steps follow from the images; leave lr out")
        some = clip.encode_text(list(names))  # of the right shape, until there are images
        return LPPlusPlus(clip, names, some, range(len(names)), template=settings.template)

    def train(
        self, learner: Learner, images: Images, labels: Labels, settings: Settings, **_: Any
    ) -> Trained:
        recipe = {**self.recipe, **settings.recipe}
        clip, names = learner.clip, learner.classnames
        shots = count_shots(check_labels(labels, names, len(images)), names)
        started = time.monotonic()
        given = {"template": settings.template, **recipe}
        probe, _losses = fit_lp_plus_plus(clip, names, images, labels, **given)
        return Trained(probe, {**self._told(settings), **recipe}, shots, time.monotonic() - started)


LP_PLUS_PLUS = _PublishedLPPlusPlus(
    "lp++",
    "LP++",
    "2404.02285",
    LPPlusPlus,
    "a vector of each class, and how much its sentence counts beside it",
    recipe={"epochs": 300},
    losses=("softmax",),
)
