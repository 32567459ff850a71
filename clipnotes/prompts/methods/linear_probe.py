"""A logistic regression on features, which it takes as they are (Radford et al. 2021)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from clipnotes.checkpoints import Clip
from clipnotes.classnames import check_classnames
from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.inputs import Images, Labels, count_shots, labelled_features


class LinearProbe(Classifier):
    """Logistic regression on the features (Radford et al. 2021, section 3.2).

    How strongly it is regularised matters much, so by default ``C`` is chosen: the power of ten
    from 0.01 to 10,000 with the best accuracy in a cross-validation of the given images, and the
    smaller of two equals. It never sees other images. With one image in some class nothing can
    be held back, and ``C`` is 10.

    Args:
        clip: The model.
        classnames: The classes, at least two.
        images: PIL images, or their (n, P) features of unit length.
        labels: n numbers into ``classnames``, or n names out of it; each class at least once.
        C: scikit-learn's: the weight of the images against the penalty. None: chosen.

    Attributes:
        C: What was given or chosen.
        weight, bias: (n_classes, P) and (n_classes,).

    Raises:
        TypeError: Names, images or labels of another kind.
        ValueError: They do not fit each other, a class has no image, there is only one class, or
            ``C`` is not above 0.

    Example:
        >>> import clipnotes
        >>> probe = LinearProbe(clipnotes.load(), ["a", "b"], torch.eye(128)[:4], [0, 1, 0, 1])
        >>> probe.logits(torch.eye(128)[:4]).argmax(dim=-1)
        tensor([0, 1, 0, 1])
    """

    method = "linear_probe"
    OPTIONS: ClassVar[Mapping[str, type]] = {"C": float}

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
        names = check_classnames(classnames)
        if len(names) == 1:
            raise ValueError("a linear probe needs at least two classes; one was given")
        features, numbers = labelled_features(clip, names, images, labels)
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

    @property
    def n_parameters(self) -> int:
        """A weight for each class and feature, and a bias for each class."""
        return self.weight.numel() + self.bias.numel()

    @torch.no_grad()
    def logits(self, image_features: Tensor) -> Tensor:
        """(n, P) features of unit length -> (n, n_classes)."""
        return F.linear(image_features.to(self.weight), self.weight, self.bias)


def _regress(x: Any, y: Any, C: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # With one shot, scikit-learn takes the labels for measurements and warns.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        return LogisticRegression(C=C, max_iter=10_000).fit(x, y)


def _choose_C(x: Any, y: Any, shots: int) -> float:
    from sklearn.model_selection import StratifiedKFold

    if shots == 1:
        return 10.0
    # Not LogisticRegressionCV: it averages the accuracies of folds that differ in size, and starts
    # each C from the solution of the last one, so it chooses another C here and there.
    folds = StratifiedKFold(min(shots, 5), shuffle=True, random_state=0)
    right: dict[float, int] = {}
    for power in range(-2, 5):
        C = 10.0**power
        for train, test in folds.split(x, y):
            hits = (_regress(x[train], y[train], C).predict(x[test]) == y[test]).sum()
            right[C] = right.get(C, 0) + int(hits)
    return max(right, key=lambda C: (right[C], -C))
