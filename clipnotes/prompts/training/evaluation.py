"""How good a classifier is: accuracy, also by class, what is taken for what, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from clipnotes.prompts.classifier import as_classifier
from clipnotes.prompts.inputs import Images, Labels, check_labels
from clipnotes.prompts.training.calibration import calibration_error


class Classifier(Protocol):
    """What ``evaluate`` needs: every learner and baseline has it, and so may an object of yours.

    Without a method ``inputs``, its ``logits`` is given the features of images. One that encodes
    images itself has a method ``inputs``, from images to their pixels, and its ``logits`` is given
    those.
    """

    # They are only read, and as properties they may be of a narrower type: a list of names fits.
    @property
    def clip(self) -> Any:
        """Model and tokenizer, a ``clipnotes.Clip``."""

    @property
    def classnames(self) -> Sequence[str]:
        """A name for each class, in the order of the logits."""

    def logits(self, image_features: Tensor, /) -> Tensor:
        """(n, P) features of unit length, or (n, 3, S, S) pixels -> (n, n_classes)."""


@dataclass(frozen=True, eq=False)
class Scores:
    """What :func:`evaluate` found.

    Attributes:
        accuracy: The part of the images that got their own class, 0 to 1.
        n: How many images.
        per_class: (n_classes,) float32, the accuracy within each class; NaN without images.
        confusion: (n_classes, n_classes) int64: row, the true class; column, the one said.
        ece: The expected calibration error, 0 to 1 (Guo et al. 2017): how far, on average, the
            probability of the class that was said is from the part that is right, in 15 bins of
            equal width. A learner's ``temperature`` counts. Two classifiers with one accuracy may
            differ in it: ranks do not tell how sure one is. With few images it is coarse.
    """

    accuracy: float
    n: int
    per_class: Tensor = field(repr=False)
    confusion: Tensor = field(repr=False)
    ece: float = field(repr=False)


@torch.no_grad()
def evaluate(classifier: Classifier, images: Images, labels: Labels) -> Scores:
    """Measure a classifier on labelled images.

    Args:
        classifier: A learner, a baseline, or anything with ``clip``, ``classnames`` and
            ``logits(image_features)``. With a method ``inputs``, it gets the pixels of images.
        images: PIL images, or their (n, P) features of unit length, or, for a classifier that
            takes them, (n, 3, S, S) pixels.
        labels: n numbers into the classifier's ``classnames``, or n names out of it. A class
            without images is allowed.

    Returns:
        The :class:`Scores`, on the CPU.

    Raises:
        TypeError: Images or labels of another kind.
        ValueError: Images or labels that do not fit each other, the model or the classes.
        FloatingPointError: The classifier gives a logit that is not finite.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import ZeroShot, evaluate
        >>> fruit = load_emoji(style="noto", category="food-fruit")
        >>> zero_shot = ZeroShot(clipnotes.load(), fruit["name"], "an emoji of a {}")
        >>> evaluate(zero_shot, fruit["image"], fruit["name"]).n
        20
    """
    own = as_classifier(classifier)
    checked = own.check(images)
    n_classes = len(classifier.classnames)
    truth = check_labels(labels, classifier.classnames, len(checked))
    logits = own.logits_of(checked).cpu()
    if not logits.isfinite().all():
        i = int((~logits.isfinite()).nonzero()[0, 0])
        raise FloatingPointError(
            f"a logit of image {i} is not finite, so nothing can be measured; if this comes "
            "after a training, try a smaller lr"
        )
    said = logits.argmax(dim=-1)
    # Every pair (truth, said) is one number, and bincount counts them.
    pairs = torch.bincount(truth * n_classes + said, minlength=n_classes**2)
    confusion = pairs.reshape(n_classes, n_classes)
    right = confusion.diagonal()
    return Scores(
        accuracy=int(right.sum()) / len(truth),
        n=len(truth),
        per_class=right / confusion.sum(dim=1),  # 0 / 0 is NaN
        confusion=confusion,
        ece=calibration_error(logits, truth, own.temperature),
    )
