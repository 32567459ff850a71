"""Class names in, a differentiable classifier out: CoOp's prompt learner for any CLIP."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.checkpoints import Clip
from clipnotes.compat import text_projection, text_tower
from clipnotes.prompts.card import check_fits, make_card
from clipnotes.prompts.coop import read_coop
from clipnotes.prompts.embeddings import N_CTX
from clipnotes.prompts.encode import check_memory, encode
from clipnotes.prompts.layout import Layout, Position, check_classnames, token_ids
from clipnotes.prompts.storage import read_prompt, write_prompt
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

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        shots: int | None = None,
        seed: int | None = None,
        scores: Mapping[str, float] | None = None,
        force: bool = False,
    ) -> None:
        """Save the prompt: the context and a card that says what it is for.

        The folder gets ``prompt.safetensors`` and, for readers, ``card.json``. A kill at any moment
        leaves the old prompt or the new one.

        Args:
            folder: Is made if it is not there.
            shots: Pictures a class that it was learned from.
            seed: Of the training.
            scores: Name -> number, for instance accuracies.
            force: Replace a prompt that is there.

        Raises:
            TypeError: Shots, seed or a score of another type.
            ValueError: A prompt is there already; a number that is not finite. Nothing is written.
            OSError: The system refuses; an old prompt is still there.

        Example:
            >>> import clipnotes, tempfile
            >>> learner = PromptLearner(clipnotes.load(), ["rose", "tulip"], n_ctx=4)
            >>> learner.save(tempfile.mkdtemp(), shots=16, scores={"accuracy": 0.9})
        """
        card = make_card(
            self.clip,
            self.ctx,
            position=self.position,
            template=self.template,
            classnames=self.classnames,
            shots=shots,
            seed=seed,
            scores=scores,
        )
        write_prompt(folder, self.ctx, card, force=force)

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        clip: Clip,
        classnames: Sequence[str] | None = None,
    ) -> "PromptLearner":
        """Load a prompt for the model that it was learned with.

        Args:
            folder: Written by ``save``.
            clip: The model; its text tower must be the one on the card.
            classnames: Other classes, for a context that all classes share. None: those it was
                learned with.

        Raises:
            ValueError: There is no prompt, it is damaged or of another model; the classes do not
                fit the model, or the context belongs to other ones.

        Example:
            >>> import clipnotes, tempfile
            >>> clip, folder = clipnotes.load(), tempfile.mkdtemp()
            >>> PromptLearner(clip, ["rose", "tulip"], n_ctx=4).save(folder)
            >>> PromptLearner.load(folder, clip).classnames
            ['rose', 'tulip']
            >>> PromptLearner.load(folder, clip, ["beetle", "bear", "fox"])().shape
            torch.Size([3, 128])
        """
        ctx, card = read_prompt(folder)
        check_fits(clip, card)
        names = card["classnames"] if classnames is None else check_classnames(classnames)
        if card["per_class"] and names != card["classnames"]:
            some = ", ".join(card["classnames"][:5])
            raise ValueError(
                f"the prompt in {folder} has a context of its own for each of its "
                f"{len(card['classnames'])} classes ({some}{', ...' * (len(ctx) > 5)}), and none "
                "for others: leave classnames out, or learn a context that all classes share"
            )
        return cls._from_ctx(ctx, clip, names, card["position"], card["template"])

    @classmethod
    def from_coop(
        cls,
        path: str | os.PathLike[str],
        clip: Clip,
        classnames: Sequence[str],
        position: Position = "end",
    ) -> "PromptLearner":
        """Import a context that CoOp's own program has learned.

        Its checkpoint holds numbers only: give the classes, the order included if each has its own
        context (CSC), and where the name stands (``CLASS_TOKEN_POSITION``). It is read with
        ``weights_only``.

        Args:
            path: For instance ``prompt_learner/model.pth.tar-50``.
            clip: The CLIP that it was learned with.
            classnames: The classes; for a shared context, any.
            position: As it was learned.

        Raises:
            ValueError: No such file, one that holds more than tensors, or no context; a context
                that is for another CLIP or another number of classes; names that do not fit.

        Example:
            >>> import clipnotes, tempfile
            >>> path = tempfile.mkdtemp() + "/model.pth.tar-50"
            >>> torch.save({"state_dict": {"ctx": torch.zeros(4, 128)}, "epoch": 50}, path)
            >>> PromptLearner.from_coop(path, clipnotes.load(), ["rose", "tulip"])().shape
            torch.Size([2, 128])
        """
        names = check_classnames(classnames)
        ctx = read_coop(path, clip, names)
        return cls._from_ctx(ctx, clip, names, position, "{}.")

    @classmethod
    def _from_ctx(
        cls, ctx: Tensor, clip: Clip, names: Sequence[str], position: Position, template: str
    ) -> "PromptLearner":
        per_class = ctx.dim() == 3
        learner = cls(clip, names, ctx.shape[-2], None, position, per_class, template)
        with torch.no_grad():
            learner.ctx.copy_(ctx)
        return learner

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
