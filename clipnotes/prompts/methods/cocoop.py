"""CoCoOp: a context that depends on the image (Zhou et al. 2022).

https://arxiv.org/abs/2203.05557, section 3.2. A small network makes one vector of an image's
features, and this is added to every vector of the context. So each image has prompts of its own,
and every class is encoded anew for it. The authors' program therefore takes one image after the
other; here the prompts of many images are encoded at once, and start, name and end are looked at
once for all of them.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.prompts.encode import check_memory, encode_each
from clipnotes.prompts.layout import Position
from clipnotes.prompts.learner import Learner
from clipnotes.prompts.methods.coop import PromptLearner
from clipnotes.prompts.methods.published import Published
from clipnotes.prompts.saved.authors import SHRINK, read_cocoop


class CoCoOp(Learner):
    """Learn the words around class names, and how an image changes them.

    The paper's recipe is ``fit(learner, images, labels, epochs=10, batch_size=1)`` from the words
    "a photo of a". Parameters are in float32, whatever the model's dtype.

    Args:
        clip: Model and tokenizer, as ``clipnotes.load`` gives them.
        classnames: One name a class, none twice.
        n_ctx: Number of context tokens: as many as ``init`` has; without ``init``, 16.
        init: A text to start from, or None for vectors from N(0, 0.02).
        position: Where the name stands: ``"end"``, ``"middle"`` or ``"front"``.
        template: The words around a name, with one ``{}``.
        seed: Decides the network and a random start.
        fast: Encode the prompts without computing anything twice or in vain. Else by the model's
            own tower, one image at a time, slowly.
        memory: Bytes that the prompts of the images computed at once may take; 1 GiB unless
            given.

    Attributes:
        ctx: A parameter, (n_ctx, D).
        meta_net: The network, P -> P / 16 -> D.
        layout: Where everything stands in the prompts.
        clip, classnames, n_ctx, position, template, fast, memory: As given.

    Raises:
        TypeError, ValueError: As ``PromptLearner``.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> learner = CoCoOp(clip, ["rose", "tulip"], init="an emoji of a")
        >>> features = torch.eye(128)[:3]
        >>> learner(features).shape, learner.logits(features).shape
        (torch.Size([3, 2, 128]), torch.Size([3, 2]))
    """

    method = "cocoop"
    uses_vision = True  # the network reads its features
    OPTIONS: ClassVar = {"n_ctx": int, "position": str, "template": str}

    def __init__(
        self,
        clip: Clip,
        classnames: Sequence[str],
        n_ctx: int | None = None,
        init: str | None = "a photo of a",
        position: Position = "end",
        template: str = "{}.",
        seed: int = 0,
        fast: bool = True,
        memory: int | None = None,
    ) -> None:
        super().__init__(clip, classnames)
        shared = PromptLearner(
            clip, classnames, n_ctx, init, position, template=template, seed=seed, memory=memory
        )
        self.ctx = shared.ctx
        self.layout = shared.layout
        width, wide = self.ctx.shape[1], compat.shared_width(clip.model)
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also seed the GPUs, which fork_rng does not restore here.
            torch.default_generator.manual_seed(seed)
            self.meta_net = nn.Sequential(
                nn.Linear(wide, max(1, wide // SHRINK), device="cpu"),
                nn.ReLU(),
                nn.Linear(max(1, wide // SHRINK), width, device="cpu"),
            ).to(self.ctx.device)
        self.n_ctx = shared.n_ctx
        self.position = position
        self.template = template
        self.fast = fast
        self.memory = memory

    @classmethod
    def blank(
        cls,
        clip: Clip,
        classnames: Sequence[str],
        options: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
    ) -> "CoCoOp":
        """Make a learner for ``tensors`` to be put in, whose context starts at random."""
        return cls(clip, classnames, init=None, **options)

    @classmethod
    def from_cocoop(
        cls,
        path: str | os.PathLike[str],
        clip: Clip,
        classnames: Sequence[str],
    ) -> "CoCoOp":
        """Import what CoCoOp's own program has learned: the context and the network.

        As ``PromptLearner.from_coop``, the underscores in names included.

        Args:
            path: For instance ``prompt_learner/model.pth.tar-10``.
            clip: The CLIP that it was learned with.
            classnames: The classes, any; they stand at the end, as in the authors' program.

        Raises:
            ValueError: As ``PromptLearner.from_coop``; also no network, or one for another CLIP.

        Example:
            >>> import clipnotes, tempfile
            >>> clip, path = clipnotes.load(), tempfile.mkdtemp() + "/model.pth.tar-10"
            >>> state = {"ctx": torch.zeros(4, 128)}
            >>> for name, rows, columns in (("linear1", 8, 128), ("linear2", 128, 8)):
            ...     state[f"meta_net.{name}.weight"] = torch.zeros(rows, columns)
            ...     state[f"meta_net.{name}.bias"] = torch.zeros(rows)
            >>> torch.save({"state_dict": state}, path)
            >>> CoCoOp.from_cocoop(path, clip, ["rose", "tulip"]).n_ctx
            4
        """
        state = read_cocoop(path, clip)
        learner = cls(clip, classnames, len(state["ctx"]), init=None)
        learner.load_state_dict(state)
        return learner

    def forward(self, image_features: Tensor) -> Tensor:
        """Encode every class for every image.

        Args:
            image_features: (n_images, P), unit length.

        Returns:
            (n_images, n_classes, P), unit length.
        """
        self.check_features(image_features)
        bias = self.meta_net(image_features.to(self.ctx))  # (n_images, D)
        ctxs = self.ctx + bias.unsqueeze(1)  # (n_images, n_ctx, D)
        return encode_each(self.clip.model, self.layout, ctxs, fast=self.fast, memory=self.memory)

    def logits(self, image_features: Tensor) -> Tensor:
        """Compare each image with every class, as its own context has it.

        Args:
            image_features: (n_images, P), unit length, as ``clip.encode_image`` gives them.

        Returns:
            (n_images, n_classes): cosines times the model's scale, and its bias if it has one.

        Raises:
            ValueError: Features of another shape.
        """
        self.check_features(image_features)
        # The class features of all images may be more than the memory, the logits are not.
        each = len(self.classnames) * image_features.shape[1] * self.ctx.element_size()
        parts = image_features.split(max(1, check_memory(self.memory) // each))
        found = []
        for part in parts:
            features = self(part)  # (n, n_classes, P)
            cosines = torch.einsum("np,ncp->nc", part.to(features), features)
            found.append(compat.logits(self.clip.model, cosines))
        return torch.cat(found)


COCOOP = Published(
    "cocoop",
    "CoCoOp",
    "2203.05557",
    CoCoOp,
    "vectors, and a small network that changes them with the image",
    options=("n_ctx", "init", "position"),
    start={"init": "a photo of a"},
    recipe={"epochs": 10, "batch_size": 1, "lr": 0.002},
)
