"""KgCoOp: keep what is learned near what CLIP knows (Yao et al. 2023).

https://arxiv.org/abs/2303.13283, sections 3.2 and 3.3. A learned context that fits the classes it
was learned with loses others, the more, the further its class features are from those of a
hand-written template. So this distance is added to the loss. Nothing else differs from CoOp.
"""

from __future__ import annotations

from torch import Tensor

from clipnotes.prompts.methods.coop import PromptLearner
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.methods.zero_shot import ZeroShot
from clipnotes.prompts.recipe import check_weight


class KgCoOp:
    """The penalty for going away from a hand-written template, for ``fit(..., penalty=...)``.

    The paper's start and its recipe are in ``clipnotes.prompts.methods.PUBLISHED["kgcoop"]``.

    Args:
        learner: Whose class features are to stay near. They must not depend on the image.
        weight: The paper's lambda, which it sets to 8.
        template: The sentence with one ``{}``, encoded once by the frozen model.

    Attributes:
        anchors: (n_classes, P), unit length: where the classes were.
        weight, template: As given.

    Raises:
        TypeError: Something of another type.
        ValueError: A weight that is negative or not finite; a template without exactly one ``{}``.

    Example:
        >>> import clipnotes
        >>> learner = PromptLearner(clipnotes.load(), ["rose", "tulip"], init="an emoji of a")
        >>> penalty = KgCoOp(learner, template="an emoji of a {}.")
        >>> abs(penalty(learner()).item()) < 1e-5
        True
    """

    def __init__(
        self, learner: PromptLearner, weight: float = 8.0, template: str = "a photo of a {}."
    ) -> None:
        if not isinstance(learner, PromptLearner):
            raise TypeError(
                f"learner is a {type(learner).__name__}: give a PromptLearner, whose class "
                "features are the same for every image"
            )
        check_weight("weight", weight)
        self.anchors = ZeroShot(learner.clip, learner.classnames, template).class_features
        self.weight = float(weight)
        self.template = template

    def __call__(self, class_features: Tensor) -> Tensor:
        """Weigh how far class features have gone.

        Args:
            class_features: (n_classes, P), unit length, as ``learner()`` returns them.

        Returns:
            A number: the weight times the mean of 1 - cosine.

        Raises:
            ValueError: Features of another shape, as those of other classes.
        """
        if class_features.shape != self.anchors.shape:
            raise ValueError(
                f"the class features have shape {tuple(class_features.shape)} and those of the "
                f"template {tuple(self.anchors.shape)}: make the penalty for this learner"
            )
        anchors = self.anchors.to(class_features.device)  # the model may have moved
        cosines = (class_features.float() * anchors).sum(dim=-1)  # (n_classes,)
        return self.weight * (1 - cosines).mean()


KGCOOP = Published(
    "kgcoop",
    "KgCoOp",
    "2303.13283",
    PromptLearner,
    "as `coop`, kept near a hand-written sentence",
    options=("n_ctx", "init", "position"),
    start={"init": "a photo of a"},
    recipe={"epochs": 100, "batch_size": 128, "lr": 0.002},
    penalty=KgCoOp,
)
