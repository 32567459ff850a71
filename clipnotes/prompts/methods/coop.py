"""Class names in, a differentiable classifier out: CoOp's prompt learner for any model."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.classnames import check_classnames, token_ids
from clipnotes.compat.weights import token_table
from clipnotes.prompts.encode import check_memory, encode
from clipnotes.prompts.layout import Layout, Position
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.replaced import N_CTX
from clipnotes.prompts.saved.authors import read_coop
from clipnotes.prompts.substitute import random_ctx


class PromptLearner(Learner):
    """Learn the words around class names as vectors (https://arxiv.org/abs/2109.01134).

    The only parameter is ``ctx``, in float32 whatever the model's dtype: steps of a learning rate
    would be lost in half precision. The CLIP is used, not owned, see ``Learner``.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        n_ctx: Number of context tokens: 16, or as many as ``init`` has.
        init: A text to start from, for instance ``"a photo of a"``. Else vectors from N(0, 0.02).
        position: Where the name stands: ``"end"``, ``"middle"`` or ``"front"``, see ``Layout``.
        per_class: Learn a context for each class instead of one for all.
        template: The words around a name, with one ``{}``.
        seed: Decides a random start.
        fast: Encode the prompts without computing anything twice or in vain, see ``encode``. If
            not, the model's own tower encodes them, slowly. Only CLIP's own tower can be fast.
        memory: Bytes that encoding may take, see ``encode``.

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

    method = "coop"
    OPTIONS: ClassVar = {"n_ctx": int, "position": str, "per_class": bool, "template": str}

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
        super().__init__(clip, classnames)
        check_memory(memory)
        family = compat.family_of(clip.model)
        compat.shared_width(clip.model)  # raises if there is no projection
        ids = None if init is None else _initial_ids(clip.tokenizer, init, n_ctx)
        if n_ctx is None:
            n_ctx = N_CTX if ids is None else len(ids)
        self.layout = Layout.build(
            clip.tokenizer,
            self.classnames,
            n_ctx,
            limit=family.n_positions(clip.model),
            position=position,
            template=template,
            reads=family.reads(clip.model),
        )
        table = token_table(clip.model).weight.detach()
        shape = [n_ctx, table.shape[1]]
        if per_class:
            shape = [len(self.classnames), *shape]
        if ids is None:
            ctx = random_ctx(*shape, seed=seed).to(table.device)
        else:
            # Not rows of the table: what stands in their place may be more than that, with LoRA.
            with torch.no_grad():
                look_up = family.token_table(clip.model)
                start = look_up(torch.tensor(ids, device="cpu").to(table.device))
            ctx = start.float().expand(shape).clone()
        self.ctx = nn.Parameter(ctx)
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

    def logits(self, image_features: Tensor, class_features: Tensor | None = None) -> Tensor:
        """Compare images with every class.

        Args:
            image_features: (n_images, P), unit length, as ``clip.encode_image`` gives them.
            class_features: What calling the learner returned, for those who have it already.

        Returns:
            (n_images, n_classes): cosines times the model's scale, and its bias if it has one.

        Raises:
            ValueError: Features of another shape.

        Example:
            >>> import clipnotes, torch
            >>> learner = PromptLearner(clipnotes.load(), ["rose", "tulip"], n_ctx=4)
            >>> learner.logits(torch.zeros(3, 128)).shape
            torch.Size([3, 2])
        """
        self.check_features(image_features)
        features = self() if class_features is None else class_features  # (n_classes, P)
        return compat.logits(self.clip.model, image_features.to(features) @ features.T)

    def with_classes(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits and the class features that they come from, computed once."""
        class_features = self()
        return self.logits(inputs, class_features), class_features

    @classmethod
    def is_bound(cls, options: Mapping[str, Any]) -> bool:
        """Tell whether each class has a context of its own."""
        return options["per_class"]

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

        CoOp's program replaces the underscores in names by spaces. Names from its data sets are
        made the same by ``[name.replace("_", " ") for name in names]``.

        Args:
            path: For instance ``prompt_learner/model.pth.tar-50``.
            clip: The CLIP that it was learned with.
            classnames: The classes; for a shared context, any.
            position: Where the name stood when it was learned.

        Raises:
            ValueError: No such file, one that holds more than tensors, no context, or more than
                CoOp learns, as a checkpoint of CoCoOp does; a context that is for another CLIP or
                another number of classes, or for these in another order; names that do not fit.

        Example:
            >>> import clipnotes, tempfile, torch
            >>> path = tempfile.mkdtemp() + "/model.pth.tar-50"
            >>> torch.save({"state_dict": {"ctx": torch.zeros(4, 128)}, "epoch": 50}, path)
            >>> PromptLearner.from_coop(path, clipnotes.load(), ["rose", "tulip"])().shape
            torch.Size([2, 128])
        """
        names = check_classnames(classnames)
        ctx = read_coop(path, clip, names)
        per_class = ctx.dim() == 3
        learner = cls(clip, names, ctx.shape[-2], position=position, per_class=per_class)
        learner.load_state_dict({"ctx": ctx})
        return learner


COOP = Published(
    "coop",
    "CoOp",
    "2109.01134",
    PromptLearner,
    "words around the class names, as vectors: the same for all classes",
    options=("n_ctx", "init", "position", "per_class"),
    recipe={"batch_size": 32, "lr": 0.002},
)
CSC = Published(
    "csc",
    "CoOp, CSC",
    COOP.paper,
    PromptLearner,
    "the same, for each class by itself",
    options=("n_ctx", "init", "position"),
    start={"per_class": True},
    recipe=COOP.recipe,
)


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
