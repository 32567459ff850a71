"""Class names in, a differentiable classifier out: CoOp's prompt learner for any CLIP."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from clipnotes.checkpoints import Clip
from clipnotes.compat import text_projection, text_tower
from clipnotes.prompts.embeddings import N_CTX
from clipnotes.prompts.encode import check_memory, encode
from clipnotes.prompts.layout import Layout, Position, check_classnames, token_ids
from clipnotes.prompts.substitute import random_ctx


class PromptLearner(nn.Module):
    """Learn the words around class names as vectors (https://arxiv.org/abs/2109.01134).

    The only parameter is ``ctx``, in float32 whatever the model's dtype: steps of a learning rate
    would be lost in half precision. The CLIP is used, not owned: it is no part of ``state_dict``,
    it does not move with ``to``, a deep copy of the learner shares it, and it gets no gradient.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        n_ctx: Number of context tokens: 16, or as many as ``init`` has.
        init: A text to start from, for instance ``"a photo of a"``. Else vectors from N(0, 0.02).
        position: Where the name stands: ``"end"``, ``"middle"`` or ``"front"``, see ``Layout``.
        per_class: Learn a context for each class instead of one for all.
        template: The words around a name, with one ``{}``.
        seed: Of a random start.
        fast: Encode the prompts without computing anything twice or in vain, see ``encode``. Else
            by the model's own tower, slowly.
        memory: Bytes that the fast way may take, see ``encode``.

    Attributes:
        ctx: The parameter, (n_ctx, D), or (n_classes, n_ctx, D) if ``per_class``.
        layout: Where everything stands in the prompts.
        clip, classnames, n_ctx, position, per_class, template, fast, memory: As given.

    Raises:
        TypeError: Something of another type, or a model without text tower or projection.
        ValueError: As in ``Layout.build``; also an ``init`` without tokens, or with another number
            of them than ``n_ctx``.

    Example:
        >>> import clipnotes, torch
        >>> clip = clipnotes.load()
        >>> learner = PromptLearner(clip, ["rose", "tulip"], init="an emoji of a")
        >>> learner.ctx.shape, learner().shape
        (torch.Size([4, 128]), torch.Size([2, 128]))
        >>> plain = clip.encode_text(["an emoji of a rose.", "an emoji of a tulip."])
        >>> torch.allclose(learner(), plain, atol=1e-5)
        True
    """

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        n_ctx: int | None = None,
        init: str | None = None,
        position: Position = "end",
        per_class: bool = False,
        template: str = "{}.",
        seed: int = 0,
        fast: bool = True,
        memory: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(clip, Clip):
            raise TypeError(
                f"clip is a {type(clip).__name__}: give what clipnotes.load() returns, or "
                "clipnotes.Clip(model, tokenizer, image_processor) around your own"
            )
        check_memory(memory)
        embeddings: Any = text_tower(clip.model).embeddings
        text_projection(clip.model)  # raises if there is none
        self.classnames = check_classnames(classnames)
        ids = None if init is None else _initial_ids(clip.tokenizer, init, n_ctx)
        if n_ctx is None:
            n_ctx = N_CTX if ids is None else len(ids)
        self.layout = Layout.build(
            clip.tokenizer,
            self.classnames,
            n_ctx,
            limit=embeddings.position_embedding.num_embeddings,
            position=position,
            template=template,
        )
        table = embeddings.token_embedding.weight.detach()
        shape = [n_ctx, table.shape[1]]
        if per_class:
            shape = [len(self.classnames), *shape]
        if ids is None:
            ctx = random_ctx(*shape, seed=seed).to(table.device)
        else:
            ctx = table[ids].float().expand(shape).clone()
        self.ctx = nn.Parameter(ctx)
        self.clip = clip
        self.n_ctx = n_ctx
        self.position = position
        self.per_class = per_class
        self.template = template
        self.fast = fast
        self.memory = memory

    def forward(self) -> Tensor:
        """Encode every class.

        Returns:
            (n_classes, P), unit length, differentiable in ``ctx``.
        """
        return encode(self.clip.model, self.layout, self.ctx, fast=self.fast, memory=self.memory)

    def logits(self, image_features: Tensor) -> Tensor:
        """Compare pictures with every class.

        Args:
            image_features: (n_images, P), unit length, as ``clip.encode_image`` gives them.

        Returns:
            (n_images, n_classes): cosines times the model's temperature.

        Raises:
            ValueError: Features of another shape.

        Example:
            >>> import clipnotes, torch
            >>> learner = PromptLearner(clipnotes.load(), ["rose", "tulip"], n_ctx=4)
            >>> learner.logits(torch.zeros(3, 128)).shape
            torch.Size([3, 2])
        """
        model = self.clip.model
        width = text_projection(model).out_features
        if image_features.dim() != 2 or image_features.shape[1] != width:
            raise ValueError(
                f"image_features has shape {tuple(image_features.shape)}: give "
                f"(n_images, {width}), as clip.encode_image makes them"
            )
        features = self()  # (n_classes, P)
        scale = model.logit_scale.detach().exp().to(features)
        return scale * image_features.to(features) @ features.T

    def __deepcopy__(self, memo: dict[int, Any]) -> "PromptLearner":
        memo[id(self.clip)] = self.clip  # shared, not copied
        twin = type(self).__new__(type(self))
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin


def _initial_ids(tokenizer: Any, init: str, n_ctx: int | None) -> list[int]:
    if not isinstance(init, str):
        raise TypeError(
            f"init is a {type(init).__name__}: give a text, for instance 'a photo of a'"
        )
    (ids,) = token_ids(tokenizer, [init])
    if not ids:
        raise ValueError(f"init is {init!r}, which has no token: give a text, or leave it out")
    if n_ctx not in (None, len(ids)):
        raise ValueError(
            f"init {init!r} has {len(ids)} tokens and n_ctx is {n_ctx}: "
            "leave n_ctx out, or give the same number"
        )
    return ids
