"""Prompts for both towers at once, the eye's made from the words' (Khattak et al. 2023).

https://arxiv.org/abs/2210.03117, section 3.2. Learnable vectors stand in each text, and in front of
each of the first layers new ones take their place. A linear map for each of these layers makes the
vectors of the vision tower out of those of the text tower, so both are learned together: a gradient
from the image reaches the words.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipnotes.checkpoints import Clip
from clipnotes.compat import family_of
from clipnotes.prompts.deep import check_depth, in_layers
from clipnotes.prompts.encode import encode
from clipnotes.prompts.methods.coop import PromptLearner
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.methods.vpt import VisualLearner, patch_matrix, uniform
from clipnotes.prompts.substitute import random_ctx

DEPTH, N_CTX = 9, 2  # the paper's
EVERYTHING = 2**62  # bytes: more than there are, so all classes are encoded at once


class MaPLe(VisualLearner):
    """Learn vectors in the layers of the text tower, and maps to those of the vision tower.

    The defaults are those of the authors' program: the prompt is "a photo of a NAME.", of which
    "a photo" is the start of what is learned and "of a" stays as it is.

    Every class is encoded in every step, by the model's own tower and without a memory budget: the
    fast way of ``PromptLearner`` cannot replace vectors between layers.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        n_ctx: Number of vectors: as many as ``init`` has tokens, or 2.
        depth: Layers with vectors of their own, from the first on. None: 9, or fewer if one of the
            towers has fewer.
        init: A text to start from. None: vectors from N(0, 0.02), as in all layers but the first.
        template: The words behind the vectors, with one ``{}`` for the name.
        seed: Decides everything that starts at random.

    Attributes:
        ctx: A parameter, (depth, n_ctx, D) with the text tower's width: a row a layer.
        weight, bias: Parameters, (depth, D', D) and (depth, D'): the maps, D' the vision's width.
        layout: Where everything stands in the prompts.
        recipe: For ``fit``: ``fit(maple, images, labels, **MaPLe.recipe)``.
            It is for CLIP, whose scale is 100; Emoji-CLIP, with 16, learns slowly by it, and
            better with a higher ``lr``.
        n_ctx, depth, template, clip, classnames: As given. All parameters are float32.

    Raises:
        TypeError: Something of another type, or a model without one of the towers.
        ValueError: As ``PromptLearner``; more layers than a tower has.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> from clipnotes.prompts import MaPLe, fit
        >>> fruit = load_emoji(style="openmoji", category="food-fruit")
        >>> maple = MaPLe(clipnotes.load(), fruit["name"], init="an emoji")
        >>> maple.ctx.shape, maple.weight.shape
        (torch.Size([3, 2, 128]), torch.Size([3, 128, 128]))
        >>> history = fit(maple, fruit["image"], fruit["name"], **MaPLe.recipe, progress=False)
        >>> history.loss[-1] < history.loss[0]
        True
    """

    method = "maple"
    OPTIONS: ClassVar = {"n_ctx": int, "depth": int, "template": str}
    recipe: ClassVar[dict[str, Any]] = {"epochs": 5, "batch_size": 4, "lr": 0.0035}

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        n_ctx: int | None = None,
        depth: int | None = None,
        init: str | None = "a photo",
        template: str = "of a {}.",
        seed: int = 0,
    ) -> None:
        super().__init__(clip, classnames)
        family = family_of(clip.model)
        eye, words = family.vision_layers(clip.model), family.text_layers(clip.model)
        if depth is None:
            depth = min(DEPTH, len(eye), len(words))
        check_depth(words, depth, "the text")
        check_depth(eye, depth, "the vision")
        if n_ctx is None and init is None:
            n_ctx = N_CTX
        # In front of the first layer, the prompts are those of a PromptLearner.
        first = PromptLearner(clip, self.classnames, n_ctx, init, template=template, seed=seed)
        self.layout = first.layout
        self.n_ctx, width = first.ctx.shape
        deeper = random_ctx(depth, self.n_ctx, width, seed=seed).to(first.ctx)[1:]
        self.ctx = nn.Parameter(torch.cat([first.ctx.detach()[None], deeper]))
        # The maps start as nn.Linear does.
        wide = len(patch_matrix(clip.model))  # D'
        maps = uniform(depth, wide, width + 1, limit=width**-0.5, seed=seed)
        maps = maps.to(first.ctx)
        self.weight = nn.Parameter(maps[..., :width].contiguous())
        self.bias = nn.Parameter(maps[..., width].contiguous())
        self.depth = depth
        self.template = template

    def forward(self) -> Tensor:
        """Encode every class: (n_classes, P), unit length, differentiable in ``ctx``."""
        model, family = self.clip.model, family_of(self.clip.model)
        tower, layers = family.text_tower(model), family.text_layers(model)
        with in_layers(tower, layers, self.ctx, self.layout.ctx_positions):
            return encode(model, self.layout, self.ctx[0], fast=False, memory=EVERYTHING)

    def visual_prompts(self) -> Tensor:
        """What stands in the vision tower, (depth, n_ctx, D'), made from ``ctx``."""
        return self.ctx @ self.weight.mT + self.bias[:, None]  # a map for each row

    @classmethod
    def blank(
        cls,
        clip: Clip,
        classnames: Sequence[str],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> "MaPLe":
        """Make a learner for ``tensors`` to be put in, of any number of vectors."""
        return cls(clip, classnames, init=None, **options)


MAPLE = Published(
    "maple",
    "MaPLe",
    "2210.03117",
    MaPLe,
    "vectors in the layers of both towers, the vision's made from the text's",
    options=("n_ctx", "init"),
    start={"init": "a photo"},
    recipe=MaPLe.recipe,
    scale=100,
)
