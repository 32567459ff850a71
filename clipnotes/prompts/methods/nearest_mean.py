"""A class is the mean of its images' features (Snell et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch.nn import functional as F

from clipnotes.checkpoints import Clip
from clipnotes.classnames import check_classnames
from clipnotes.prompts.inputs import Images, Labels, labelled_features
from clipnotes.prompts.methods.zero_shot import Cosine


class NearestMean(Cosine):
    """A class is the mean of its images' features, made unit length (Snell et al. 2017).

    Args:
        clip: The model.
        classnames: The classes.
        images: PIL images, or their (n, P) features of unit length.
        labels: n numbers into ``classnames``, or n names out of it; each class at least once.

    Attributes:
        class_features: (n_classes, P), unit length.

    Raises:
        TypeError: Names, images or labels of another kind.
        ValueError: They do not fit each other, or a class has no image.

    Example:
        >>> import clipnotes, torch
        >>> nearest = NearestMean(clipnotes.load(), ["a", "b"], torch.eye(128)[:3], [0, 1, 1])
        >>> nearest.logits(torch.eye(128)[2:3]).argmax().item()
        1
    """

    method = "nearest_mean"

    def __init__(
        self, clip: Clip, classnames: Sequence[str], images: Images, labels: Labels
    ) -> None:
        names = check_classnames(classnames)
        features, numbers = labelled_features(clip, names, images, labels)
        sums = features.new_zeros(len(names), features.shape[1])
        sums.index_add_(0, numbers.to(features.device), features)
        # A sum and its mean point the same way, and only the direction is kept.
        super().__init__(clip, names, F.normalize(sums, dim=-1))

    @property
    def n_parameters(self) -> int:
        """A mean for each class."""
        return self.class_features.numel()
