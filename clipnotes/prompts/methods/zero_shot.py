"""CLIP as it comes: the nearest hand-written sentence names the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.classnames import check_classnames
from clipnotes.prompts.classifier import Classifier


class Cosine(Classifier):
    """One feature of unit length per class; the model's scale makes logits of the cosines."""

    def __init__(self, clip: Clip, classnames: list[str], class_features: Tensor) -> None:
        self.clip = clip
        self.classnames = classnames
        self.class_features = class_features  # (n_classes, P)

    @torch.no_grad()
    def logits(self, image_features: Tensor) -> Tensor:
        """(n, P) features of unit length -> (n, n_classes)."""
        # To where the features are: the model may have moved since these were made.
        cosines = image_features.to(self.class_features) @ self.class_features.T
        return compat.logits(self.clip.model, cosines)


class ZeroShot(Cosine):
    """CLIP as it comes, with templates written by hand (Radford et al. 2021, section 3.1.4).

    With several templates, a class is the mean of its sentences' features of unit length, made
    unit length again.

    Args:
        clip: The model.
        classnames: The names to choose from.
        templates: A sentence with one ``{}``, or several.

    Attributes:
        class_features: (n_classes, P), unit length.
        templates: As given, as a list.

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

    method = "zero_shot"
    OPTIONS: ClassVar[Mapping[str, type]] = {"templates": list}

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        templates: str | Sequence[str] = "a photo of a {}",
    ) -> None:
        names = check_classnames(classnames, clip.tokenizer)
        sentences = check_templates(templates)
        # (n_templates, n_classes, P)
        features = torch.stack(
            [clip.encode_text([t.replace("{}", name) for name in names]) for t in sentences]
        )
        super().__init__(clip, names, F.normalize(features.float().mean(dim=0), dim=-1))
        self.templates = sentences


def sentence_features(clip: Clip, classnames: Sequence[str], template: str) -> Tensor:
    """Encode the classes by one hand-written sentence: (n_classes, P), unit length."""
    if not isinstance(template, str):
        raise TypeError(f"template is a {type(template).__name__}; give a sentence")
    return ZeroShot(clip, classnames, template).class_features


def check_templates(templates: str | Sequence[str]) -> list[str]:
    """Check hand-written sentences, each with one ``{}`` for a name; one alone is a list of one."""
    sentences = [templates] if isinstance(templates, str) else list(templates)
    if not sentences:
        raise ValueError("templates is empty; give at least one, such as 'a photo of a {}'")
    for template in sentences:
        if not isinstance(template, str):
            raise TypeError(f"a template is a {type(template).__name__}; give strings")
        if template.count("{}") != 1:
            raise ValueError(
                f"the template {template!r} has {template.count('{}')} places '{{}}'; it needs one"
            )
    return sentences
