"""What ``fit`` may add to the loss: a number made of the class features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clipnotes.prompts.classifier import as_classifier

Penalty = Callable[[Tensor], Tensor]  # of the class features, (n_classes, P)


def check_penalty(penalty: Penalty | None, learner: Any) -> None:
    """Refuse what is no penalty, or a learner without class features that all images share."""
    if penalty is None:
        return
    if not callable(penalty):
        raise TypeError(f"penalty is a {type(penalty).__name__}; give a function, or a KgCoOp")
    classifier = as_classifier(learner)
    with torch.no_grad():
        try:
            _, classes = classifier.with_classes(classifier.inputs([]))
        except NotImplementedError:
            raise TypeError(
                f"a penalty is of class features, and a {type(learner).__name__} has none that are "
                "the same for every image: leave penalty out, or take a PromptLearner"
            ) from None
        found = penalty(classes)
    if not isinstance(found, Tensor) or found.dim() != 0:
        raise TypeError(f"penalty returned {found!r}; it must return one number, as a tensor")


def made_with(penalty: Penalty) -> dict[str, Any]:
    """Say what a penalty was made with, as far as that is numbers and texts."""
    values = getattr(penalty, "__dict__", {})
    return {name: value for name, value in values.items() if isinstance(value, (int, float, str))}
