"""Prompts in both towers that are held near the frozen CLIP in three ways (Khattak et al. 2023).

https://arxiv.org/abs/2307.06948, section 3.2. Learnable vectors stand in the layers of both towers,
as in MaPLe, but here no map ties the towers together. What keeps the vectors from forgetting what
CLIP knew is the loss: features of images and of classes, and the logits that they make, may not go
far from those of CLIP without prompts. And what is kept at the end is no single epoch but a mean
over all of them, in which the late epochs, but not the last, weigh most.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.pictures.batches import encode_pixels
from clipnotes.prompts.chance import Chance
from clipnotes.prompts.deep import check_depth, in_layers
from clipnotes.prompts.encode import encode
from clipnotes.prompts.methods.coop import PromptLearner
from clipnotes.prompts.methods.maple import DEPTH, EVERYTHING
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.methods.vpt import VisualLearner, patch_matrix
from clipnotes.prompts.methods.zero_shot import ZeroShot, check_templates
from clipnotes.prompts.recipe import check_weight
from clipnotes.prompts.substitute import random_ctx

N_CTX = 4  # the paper's

#: Sentences of many kinds, whose mean says where a class was.
TEMPLATES = (
    "a photo of a {}.",
    "a picture of the {}.",
    "a photo of one {}.",
    "a photo of several {}.",
    "a photo of part of a {}.",
    "a close view of a {}.",
    "a distant view of the {}.",
    "a dark photo of a {}.",
    "a colourful photo of the {}.",
    "a blurred photo of a {}.",
    "a drawing of a {}.",
    "a painting of the {}.",
    "a figure of a {}.",
    "a {} on a screen.",
)


class PromptSRC(VisualLearner):
    """Learn vectors in the layers of both towers, and stay near what CLIP sees and reads itself.

    ``fit`` asks this learner what it adds to the loss. Per image that is

    - ``text_weight`` times the mean distance of the classes' numbers from those of the frozen CLIP,
      whose class features are the mean of many hand-written sentences (``templates``);
    - ``image_weight`` times the mean distance of the image's numbers from those of the frozen CLIP;
    - KL(frozen || learned) of the classes' probabilities, divided by the number of classes, as in
      the authors' program, which takes the mean over all logits.

    A distance is the absolute difference (L1), and both features have unit length. And ``fit``
    returns a mean over the epochs, with the weights of a Gaussian over them.

    The defaults are those of the authors' program for its main setting, base to new classes, with
    two differences. They average 60 sentences of OpenAI's list for ImageNet; here it is a shorter
    list of our own. And each sentence has unit length before the mean is taken, as in ``ZeroShot``.

    Every class is encoded in every step, as by ``MaPLe``, and every image twice: with the vectors,
    and without them and without a gradient.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        n_ctx: Number of vectors, in each layer of each tower: as many as ``init`` has tokens, or 4.
        text_depth: Layers of the text tower with vectors of their own, from the first on. None: 9,
            or all if there are fewer.
        vision_depth: The same for the vision tower.
        init: A text to start from, in the text tower. None: vectors from N(0, 0.02), as in all
            other layers.
        template: The words behind the vectors, with one ``{}`` for the name.
        templates: Sentences for the frozen CLIP, each with one ``{}``, or a single one. For a model
            of another language, give sentences of that language.
        text_weight: How much the classes' distance counts.
        image_weight: How much the images' distance counts.
        gpa_mean: Which epoch counts most in the mean, as a part of all epochs: 15 of 20. For few
            images of all classes the authors take ``fit(..., epochs=50)`` and 0.6 (30 of 50).
        gpa_std: The Gaussian's standard deviation, as a part of all epochs: 1 of 20. For few images
            of all classes they take 0.6 too.
        seed: Decides everything that starts at random.

    Attributes:
        ctx: A parameter, (text_depth, n_ctx, D) with the text tower's width: a row a layer.
        visual_ctx: A parameter, (vision_depth, n_ctx, D') with the vision tower's width.
        anchors: (n_classes, P), unit length, fixed: where the sentences have the classes.
        layout: Where everything stands in the prompts.
        recipe: For ``fit``: ``fit(learner, images, labels, **PromptSRC.recipe)``.
            It is for CLIP, whose scale is 100; Emoji-CLIP, with 16, learns slowly by it, and
            better with a higher ``lr``.
        n_ctx, text_depth, vision_depth, template, clip, classnames: As given. All parameters are
            float32.
        templates, text_weight, image_weight, gpa_mean, gpa_std: As given. They are for training
            alone and are not saved.

    Raises:
        TypeError: Something of another type, or a model without one of the towers.
        ValueError: As ``PromptLearner``; more layers than a tower has; sentences without exactly
            one ``{}`` or with more tokens than the model takes; a weight below 0.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import PromptSRC, fit
        >>> fruit = load_emoji(style="openmoji", category="food-fruit")
        >>> learner = PromptSRC(clipnotes.load(), fruit["name"], init="an emoji of a")
        >>> learner.ctx.shape, learner.visual_ctx.shape
        (torch.Size([3, 4, 128]), torch.Size([6, 4, 128]))
        >>> recipe = {**PromptSRC.recipe, "epochs": 3}
        >>> history = fit(learner, fruit["image"], fruit["name"], **recipe, progress=False)
        >>> history.loss[-1] < history.loss[0]
        True
    """

    method = "promptsrc"
    OPTIONS: ClassVar = {"n_ctx": int, "text_depth": int, "vision_depth": int, "template": str}
    TRAINING = ("templates", "text_weight", "image_weight", "gpa_mean", "gpa_std")
    recipe: ClassVar[dict[str, Any]] = {"epochs": 20, "batch_size": 4, "lr": 0.0025}

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        n_ctx: int | None = None,
        text_depth: int | None = None,
        vision_depth: int | None = None,
        init: str | None = "a photo of a",
        template: str = "{}.",
        templates: str | Sequence[str] = TEMPLATES,
        text_weight: float = 25.0,
        image_weight: float = 10.0,
        gpa_mean: float = 0.75,
        gpa_std: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__(clip, classnames)
        family = compat.family_of(clip.model)
        words, eye = family.text_layers(clip.model), family.vision_layers(clip.model)
        self.text_depth = min(DEPTH, len(words)) if text_depth is None else text_depth
        self.vision_depth = min(DEPTH, len(eye)) if vision_depth is None else vision_depth
        check_depth(words, self.text_depth, "the text")
        check_depth(eye, self.vision_depth, "the vision")
        check_weight("text_weight", text_weight)
        check_weight("image_weight", image_weight)
        check_weight("gpa_mean", gpa_mean)
        check_weight("gpa_std", gpa_std, above=True)
        self.text_weight, self.image_weight = float(text_weight), float(image_weight)
        self.gpa_mean, self.gpa_std = float(gpa_mean), float(gpa_std)
        self.templates = check_templates(templates)
        for sentence in self.templates:  # too long a text says so now, not in the first step
            clip.tokenize([sentence.replace("{}", name) for name in self.classnames])

        if n_ctx is None and init is None:
            n_ctx = N_CTX
        # In front of the first layer, the text's prompts are those of a PromptLearner.
        first = PromptLearner(clip, self.classnames, n_ctx, init, template=template, seed=seed)
        self.layout = first.layout
        self.template = template
        self.n_ctx, width = first.ctx.shape
        shapes = (
            (self.text_depth, self.n_ctx, width),
            (self.vision_depth, self.n_ctx, len(patch_matrix(clip.model))),
        )
        sizes = [math.prod(shape) for shape in shapes]
        drawn = random_ctx(sum(sizes), seed=seed).to(first.ctx).split(sizes)
        text, visual = (part.view(shape) for part, shape in zip(drawn, shapes, strict=True))
        self.ctx = nn.Parameter(torch.cat([first.ctx.detach()[None], text[1:]]))
        self.visual_ctx = nn.Parameter(visual.clone())

    @cached_property
    def anchors(self) -> Tensor:
        """Return where the sentences have the classes, (n_classes, P), of unit length."""
        # Made when it is first needed: whoever only names images does not need it.
        return ZeroShot(self.clip, self.classnames, self.templates).class_features

    def forward(self) -> Tensor:
        """Encode every class: (n_classes, P), unit length, differentiable in ``ctx``."""
        model, family = self.clip.model, compat.family_of(self.clip.model)
        tower, layers = family.text_tower(model), family.text_layers(model)
        with in_layers(tower, layers, self.ctx, self.layout.ctx_positions):
            return encode(model, self.layout, self.ctx[0], fast=False, memory=EVERYTHING)

    def visual_prompts(self) -> Tensor:
        """What stands in the vision tower: (vision_depth, n_ctx, D'), a row a layer."""
        return self.visual_ctx

    def in_training(self, pixel_values: Tensor, chance: Chance) -> tuple[Tensor, Tensor]:
        """Give the logits, and how far they and the features have gone from the frozen CLIP.

        Args:
            pixel_values: (n, 3, height, width), as ``inputs`` gives them.
            chance: Nothing here is random.

        Returns:
            (n, n_classes) logits, and a number: the three terms, summed over the images.
        """
        model, n = self.clip.model, len(pixel_values)
        features, classes = self.encode(pixel_values)  # (n, P), (n_classes, P)
        logits = compat.logits(model, features @ classes.T)  # (n, n_classes)
        with torch.no_grad():
            plain = encode_pixels(model, pixel_values.split(1)) if n else features
            plain, anchors = plain.to(features), self.anchors.to(features)
            frozen = compat.logits(model, plain @ anchors.T)
        text = (classes - anchors).abs().mean()  # the same for every image
        image = (features - plain).abs().sum() / features.shape[1]
        # What either says of an image is a distribution over the classes; the first argument of
        # kl_div is the one that is measured by the other.
        learned, own = logits.log_softmax(dim=-1), frozen.log_softmax(dim=-1)
        away = F.kl_div(learned, own, reduction="sum", log_target=True) / len(classes)
        return logits, n * self.text_weight * text + self.image_weight * image + away

    def epoch_weights(self, epochs: int) -> list[float]:
        """Say how much each epoch counts in the mean: a Gaussian's density at 1, 2, ..., epochs."""
        numbers = torch.arange(1, epochs + 1, dtype=torch.float64, device="cpu")
        away = (numbers - self.gpa_mean * epochs) / (self.gpa_std * epochs)
        return torch.softmax(-(away**2) / 2, dim=0).tolist()  # of exponents, so none is 0 / 0

    @classmethod
    def blank(
        cls,
        clip: Clip,
        classnames: Sequence[str],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> "PromptSRC":
        """Make a learner for ``tensors`` to be put in, of any number of vectors."""
        # Its sentences matter for training alone: whoever only names images may have longer names.
        learner = cls(clip, classnames, init=None, templates="{}", **options)
        learner.templates = list(TEMPLATES)
        return learner


PROMPTSRC = Published(
    "promptsrc",
    "PromptSRC",
    "2307.06948",
    PromptSRC,
    "vectors in the layers of both towers, kept near what CLIP itself sees and reads",
    options=("n_ctx", "init"),
    start={"init": "a photo of a"},
    recipe=PromptSRC.recipe,
    scale=100,
)
