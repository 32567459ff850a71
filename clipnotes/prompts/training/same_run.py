"""How two runs of ``fit`` know that they are the same: what decides what comes out, in words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clipnotes.prompts.classifier import Classifier
from clipnotes.prompts.inputs import Images, picture
from clipnotes.prompts.training.resume import digest


def digest_images(images: Images) -> str:
    """A fingerprint of images, or of what a learner takes in their place."""
    if isinstance(images, Tensor):
        return digest(images)
    pictures = (picture(images, i) for i in range(len(images)))
    return digest(*(digest(image.size, image.tobytes()) for image in pictures))


def name_of(function: Any) -> str:
    """Name a function, or what has no name by its class, and never by its address."""
    return getattr(function, "__qualname__", type(function).__qualname__)


def described(optimizer: torch.optim.Optimizer) -> str:
    """Name an optimizer's class and settings, without the learning rate that the schedule sets."""
    settings = sorted(optimizer.defaults.items())
    said = [f"{name}={value}" for name, value in settings if name != "lr" and value]
    return f"{type(optimizer).__name__}({', '.join(said)})"


def made_as(classifier: Classifier) -> dict[str, Any]:
    """What a learner was made with that its first logits do not show."""
    return {f"the learner's {name}": getattr(classifier, name) for name in classifier.TRAINING}


def first_logits(classifier: Classifier, images: Images) -> Tensor:
    """Compare the first image with every class: what the model and the learner are, in numbers."""
    one = images[:1] if isinstance(images, Tensor) else [picture(images, 0)]
    with torch.no_grad():
        return classifier.logits(classifier.inputs_of(one))
