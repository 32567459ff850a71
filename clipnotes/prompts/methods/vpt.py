"""Prompts for the eye: learnable tokens in the vision tower (Jia et al. 2022).

https://arxiv.org/abs/2203.12119, section 3.2. Next to the class token and the patches stand a few
vectors that are no part of the image, and they are all that is learned. "Shallow": they go into
the first layer and are tokens as others from there on. "Deep": in front of every layer, what became
of them is replaced by new ones.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.prompts.deep import check_depth, encode_with_prompts, prompted
from clipnotes.prompts.inputs import Images, check_pixels, pixels_of
from clipnotes.prompts.layout import check_n_ctx
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.methods.zero_shot import ZeroShot
from clipnotes.prompts.saved.head import Head, read_off


class VisualLearner(Learner):
    """A learner with prompts in the vision tower, so it encodes the images anew in every step."""

    uses_vision = True

    def forward(self) -> Tensor:
        """Encode every class: (n_classes, P), unit length."""
        raise NotImplementedError(f"{type(self).__name__} encodes no class")

    def visual_prompts(self) -> Tensor:
        """What stands in the vision tower: (depth, n_ctx, D), a row a layer."""
        raise NotImplementedError(f"{type(self).__name__} has no visual prompts")

    def inputs(self, images: Images) -> Tensor:
        """Prepare images for ``logits``.

        Args:
            images: PIL images, or their pixels, which are checked.

        Returns:
            (n, 3, height, width), float32, on the CPU unless given elsewhere.

        Raises:
            TypeError, ValueError: Images or pixels that the model cannot take.
        """
        return pixels_of(self.clip, images)

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Encode images with the prompts beside them.

        Args:
            pixel_values: (n, 3, height, width), as ``inputs`` gives them.

        Returns:
            (n, P), unit length, differentiable in what is learned.
        """
        return encode_with_prompts(self.clip.model, pixel_values, self.visual_prompts())

    def logits(self, pixel_values: Tensor) -> Tensor:
        """Compare images with every class.

        Args:
            pixel_values: (n, 3, height, width), as ``inputs`` gives them.

        Returns:
            (n, n_classes): cosines times the model's scale, and its bias if it has one.

        Raises:
            ValueError: Pixels of another shape; the tower is set to compute its layers twice.
        """
        features, classes = self.encode(pixel_values)
        return compat.logits(self.clip.model, features @ classes.T)

    def encode(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Encode checked images, (n, P), and every class, (n_classes, P): unit length."""
        if len(pixel_values):  # a process may have no part of a batch
            check_pixels(self.clip, pixel_values)
        features = self.image_features(pixel_values)
        return features, self().to(features)

    def _compare(self, features: Tensor) -> Tensor:
        """(n, P) features of images -> (n, n_classes)."""
        return compat.logits(self.clip.model, features @ self().to(features).T)

    def head(self) -> Head:
        """Say what is left once the classes are fixed: what compares the features."""
        model = self.clip.model
        return read_off(self._compare, compat.shared_width(model), model.device)

    def seeing(self) -> AbstractContextManager[None]:
        """Put the prompts into the vision tower."""
        return prompted(self.clip.model, self.visual_prompts().detach())


class VPT(VisualLearner):
    """Learn tokens for the vision tower, beside hand-written sentences for the classes.

    The paper trains a new linear head; with CLIP the class features take its place, as in the
    program of MaPLe's authors, whose recipe this class has. As there, the first layer's tokens join
    the others in front of ``pre_layrnorm``.

    The tokens stand behind the class token. SigLIP has none, so there they stand in front of the
    patches, and its pooling head, which attends to all that leaves the tower, looks at them too.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        n_ctx: Number of tokens, in each layer.
        depth: Layers with tokens of their own, from the first on. 1 is VPT-Shallow; None, all
            layers, is VPT-Deep.
        templates: A sentence with one ``{}``, or several, whose mean is taken, as for ``ZeroShot``.
        seed: Decides the random start, which is uniform as in the paper's program.

    Attributes:
        ctx: The parameter, (depth, n_ctx, D), float32 whatever the model's dtype.
        class_features: (n_classes, P), unit length, fixed.
        recipe: For ``fit``: ``fit(vpt, images, labels, **VPT.recipe)``.
            It is for CLIP, whose scale is 100; Emoji-CLIP, with 16, learns slowly by it, and
            better with a higher ``lr``.
        n_ctx, depth, templates, clip, classnames: As given.

    Raises:
        TypeError: Something of another type, or a model without one of the towers.
        ValueError: Names or templates that do not fit, no token, or more layers than there are.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import VPT, fit
        >>> fruit = load_emoji(style="openmoji", category="food-fruit")
        >>> vpt = VPT(clipnotes.load(), fruit["name"], n_ctx=2, templates="an emoji of a {}")
        >>> vpt.ctx.shape
        torch.Size([6, 2, 128])
        >>> history = fit(vpt, fruit["image"], fruit["name"], **VPT.recipe, progress=False)
        >>> history.loss[-1] < history.loss[0]
        True
    """

    method = "vpt"
    OPTIONS: ClassVar = {"n_ctx": int, "depth": int, "templates": list}
    recipe: ClassVar[dict[str, Any]] = {"epochs": 5, "batch_size": 4, "lr": 0.0025}

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        n_ctx: int = 8,
        depth: int | None = None,
        templates: str | Sequence[str] = "a photo of a {}.",
        seed: int = 0,
    ) -> None:
        super().__init__(clip, classnames)
        layers = compat.family_of(clip.model).vision_layers(clip.model)
        patches = patch_matrix(clip.model)
        check_n_ctx(n_ctx)
        depth = len(layers) if depth is None else depth
        check_depth(layers, depth, "the vision")
        # They are neither a parameter nor a buffer, since what is fixed is not saved.
        self.class_features = ZeroShot(clip, self.classnames, templates).class_features
        limit = math.sqrt(6 / (patches[0].numel() + len(patches)))
        ctx = uniform(depth, n_ctx, len(patches), limit=limit, seed=seed)
        self.ctx = nn.Parameter(ctx.to(patches.device))
        self.n_ctx = n_ctx
        self.depth = depth
        self.templates = [templates] if isinstance(templates, str) else list(templates)

    def forward(self) -> Tensor:
        """The classes' features, which no training changes: (n_classes, P), unit length."""
        return self.class_features

    def visual_prompts(self) -> Tensor:
        """What stands in the vision tower: (depth, n_ctx, D), a row a layer."""
        return self.ctx


VPT_DEEP = Published(
    "vpt",
    "VPT-Deep",
    "2203.12119",
    VPT,
    "tokens in every layer of the vision tower",
    options=("n_ctx",),
    recipe=VPT.recipe,
    template="templates",
    scale=100,
)


def patch_matrix(model: nn.Module) -> Tensor:
    """Find what makes a vision tower's tokens of patches: (D, 3, patch_size, patch_size)."""
    embeddings = compat.family_of(model).vision_embeddings(model)
    return next(m.weight for m in embeddings.modules() if isinstance(m, nn.Conv2d))


def uniform(*shape: int, limit: float, seed: int) -> Tensor:
    """Draw numbers between ``-limit`` and ``limit``; torch's own generator is left alone."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=generator, device="cpu") - 1) * limit
