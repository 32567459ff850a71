"""What a learned prompt has to beat: hand-written templates, class means, a linear probe.

Each has ``clip``, ``classnames`` and ``logits(image_features)``, as a PromptLearner has, so
``evaluate`` takes them all.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipnotes.checkpoints import Clip
from clipnotes.classnames import check_classnames
from clipnotes.prompts.inputs import (
    Images,
    Labels,
    check_images,
    check_labels,
    count_shots,
    features_of,
)


class _Cosine:
    """One feature of unit length per class; the logit is the cosine times CLIP's scale."""

    def __init__(self, clip: Clip, classnames: list[str], class_features: Tensor) -> None:
        self.clip = clip
        self.classnames = classnames
        self.class_features = class_features  # (n_classes, P)

    @torch.no_grad()
    def logits(self, image_features: Tensor) -> Tensor:
        """(n, P) features of unit length -> (n, n_classes)."""
        # To where the features are: the model may have moved since these were made.
        scale = self.clip.model.logit_scale.exp().to(self.class_features)
        return scale * image_features.to(self.class_features) @ self.class_features.T


class ZeroShot(_Cosine):
    """CLIP as it comes, with templates written by hand (Radford et al. 2021, section 3.1.4).

    With several templates, a class is the mean of its sentences' features of unit length, made
    unit length again.

    Args:
        clip: The model.
        classnames: The names to choose from.
        templates: A sentence with one ``{}``, or several.

    Attributes:
        class_features: (n_classes, P), unit length.

    Raises:
        TypeError: A name or a template that is no string.
        ValueError: No names, names that are equal or have the same tokens, no template, or one
            without exactly one ``{}``.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> one = ZeroShot(clip, ["tulip", "beetle"], "an emoji of a {}")
        >>> many = ZeroShot(clip, ["tulip", "beetle"], ["an emoji of a {}", "a drawing of a {}"])
        >>> many.class_features.shape
        torch.Size([2, 128])
    """

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        templates: str | Sequence[str] = "a photo of a {}",
    ) -> None:
        names = check_classnames(classnames, clip.tokenizer)
        sentences = [templates] if isinstance(templates, str) else list(templates)
        if not sentences:
            raise ValueError("templates is empty; give at least one, such as 'a photo of a {}'")
        for template in sentences:
            if not isinstance(template, str):
                raise TypeError(f"a template is a {type(template).__name__}; give strings")
            if template.count("{}") != 1:
                raise ValueError(
                    f"the template {template!r} has {template.count('{}')} places '{{}}'; "
                    "it needs one"
                )
        # (n_templates, n_classes, P)
        features = torch.stack(
            [clip.encode_text([t.replace("{}", name) for name in names]) for t in sentences]
        )
        super().__init__(clip, names, F.normalize(features.float().mean(dim=0), dim=-1))


class NearestMean(_Cosine):
    """A class is the mean of its pictures' features, made unit length (Snell et al. 2017).

    Args:
        clip: The model.
        classnames: The classes.
        images: PIL pictures, or their (n, P) features of unit length.
        labels: n numbers into ``classnames``, or n names out of it; each class at least once.

    Attributes:
        class_features: (n_classes, P), unit length.

    Raises:
        TypeError: Names, images or labels of another kind.
        ValueError: They do not fit each other, or a class has no picture.

    Example:
        >>> import clipnotes
        >>> nearest = NearestMean(clipnotes.load(), ["a", "b"], torch.eye(128)[:3], [0, 1, 1])
        >>> nearest.logits(torch.eye(128)[2:3]).argmax().item()
        1
    """

    def __init__(
        self, clip: Clip, classnames: Sequence[str], images: Images, labels: Labels
    ) -> None:
        names, features, numbers = _read(clip, classnames, images, labels)
        sums = features.new_zeros(len(names), features.shape[1])
        sums.index_add_(0, numbers.to(features.device), features)
        super().__init__(clip, names, F.normalize(sums, dim=-1))  # the length of a mean, whatever


class LinearProbe:
    """Logistic regression on the features (Radford et al. 2021, section 3.2).

    How strongly it is regularised matters much, so by default ``C`` is chosen: the power of ten
    from 0.01 to 10,000 with the best accuracy in a cross-validation of the given pictures, and the
    smaller of two equals. It never sees other pictures. With one picture in some class nothing can
    be held back, and ``C`` is 10.

    Args:
        clip: The model.
        classnames: The classes, at least two.
        images: PIL pictures, or their (n, P) features of unit length.
        labels: n numbers into ``classnames``, or n names out of it; each class at least once.
        C: scikit-learn's: the weight of the pictures against the penalty. None: chosen.

    Attributes:
        C: What was given or chosen.
        weight, bias: (n_classes, P) and (n_classes,).

    Raises:
        TypeError: Names, images or labels of another kind.
        ValueError: They do not fit each other, a class has no picture, there is only one class, or
            ``C`` is not above 0.

    Example:
        >>> import clipnotes
        >>> probe = LinearProbe(clipnotes.load(), ["a", "b"], torch.eye(128)[:4], [0, 1, 0, 1])
        >>> probe.logits(torch.eye(128)[:4]).argmax(dim=-1)
        tensor([0, 1, 0, 1])
    """

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        images: Images,
        labels: Labels,
        C: float | None = None,
    ) -> None:
        if C is not None and not (isinstance(C, (int, float)) and 0 < C < math.inf):
            raise ValueError(f"C is {C!r}; give a number above 0, or None to have it chosen")
        if len(check_classnames(classnames)) == 1:
            raise ValueError("a linear probe needs at least two classes; one was given")
        names, features, numbers = _read(clip, classnames, images, labels)
        x, y = features.double().cpu().numpy(), numbers.numpy()
        shots = count_shots(numbers, names)
        self.clip = clip
        self.classnames = names
        self.C = C if C is not None else _choose_C(x, y, shots)
        model = _regress(x, y, self.C)
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(names) == 2:  # scikit-learn keeps the second class's; the first has the logit 0
            weight, bias = (torch.cat([torch.zeros_like(t), t]) for t in (weight, bias))
        self.weight = weight.float().to(features.device)
        self.bias = bias.float().to(features.device)

    @torch.no_grad()
    def logits(self, image_features: Tensor) -> Tensor:
        """(n, P) features of unit length -> (n, n_classes)."""
        return F.linear(image_features.to(self.weight), self.weight, self.bias)


def _read(
    clip: Clip, classnames: Sequence[str], images: Images, labels: Labels
) -> tuple[list[str], Tensor, Tensor]:
    """Check everything, then encode."""
    names = check_classnames(classnames)
    checked = check_images(clip, images)
    numbers = check_labels(labels, names, len(checked))
    count_shots(numbers, names)
    return names, features_of(clip, checked), numbers


def _regress(x: Any, y: Any, C: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # With one shot it takes the labels for measurements.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        return LogisticRegression(C=C, max_iter=10_000).fit(x, y)


def _choose_C(x: Any, y: Any, shots: int) -> float:
    from sklearn.model_selection import StratifiedKFold

    if shots == 1:
        return 10.0
    folds = StratifiedKFold(min(shots, 5), shuffle=True, random_state=0)
    right: dict[float, int] = {}
    for power in range(-2, 5):
        C = 10.0**power
        for train, test in folds.split(x, y):
            hits = (_regress(x[train], y[train], C).predict(x[test]) == y[test]).sum()
            right[C] = right.get(C, 0) + int(hits)
    return max(right, key=lambda C: (right[C], -C))
