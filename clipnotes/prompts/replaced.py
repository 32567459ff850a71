"""What both kinds of learnable embeddings share: the context, and how they get in and out."""

from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat.compiled import original as inside
from clipnotes.prompts.layout import check_n_ctx
from clipnotes.prompts.substitute import check_ctx, places, random_ctx

N_CTX = 16  # CoOp's default


class Replaced(nn.Module):
    """A module with learnable vectors that takes the place of one in a model.

    Attributes:
        ctx: The parameter, (n_ctx, D), with the dtype and device of the token table.
        ctx_positions: The places of the vectors.
        n_ctx: Their number.
    """

    ctx_positions: Tensor

    def __init__(
        self,
        table: Tensor,
        limit: int,
        n_ctx: int | None,
        start: int | Tensor,
        init: Tensor | None,
        seed: int,
    ) -> None:
        super().__init__()
        ctx = _initial(table, n_ctx, init, seed)
        self.register_buffer("ctx_positions", places(start, ctx, limit), persistent=False)
        self.ctx = nn.Parameter(ctx)  # (n_ctx, D)
        self.n_ctx = len(ctx)
        # A list hides these modules from torch. Else the state dict would hold their weights twice.
        self._replaced: list[Any] = []
        self._flags: dict[str, bool] = {}

    def put_into(self, model: nn.Module, parent: nn.Module, original: nn.Module) -> None:
        """Take the place of a module below ``parent``, and freeze the rest of the model."""
        parent = inside(parent)  # of a compiled one: what torch compiles anew for
        name = next(name for name, child in parent.named_children() if child is original)
        self._replaced = [parent, name, original, model]
        self._flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
        model.requires_grad_(False)
        setattr(parent, name, self)

    def as_now(self, original: Any) -> Any:
        """Bring the original to where the model is now."""
        return original

    def restore(self) -> None:
        """Put the original embeddings back, the same object with the same bits.

        Every parameter gets back the ``requires_grad`` it had before ``replace``. If the model has
        moved to a different device or dtype meanwhile, the original moves too.

        Raises:
            ValueError: This module is in no model, or not in it any more.

        Example:
            >>> import clipnotes
            >>> from clipnotes.prompts import LearnableTextEmbeddings
            >>> model = clipnotes.load().model
            >>> original = model.text_model.embeddings
            >>> LearnableTextEmbeddings.replace(model).restore()
            >>> model.text_model.embeddings is original
            True
        """
        if not self._replaced:
            raise ValueError(
                "nothing to restore: these embeddings stand in no model. replace() puts them into "
                "one, and restore() can be called once after it"
            )
        parent, name, original, model = self._replaced
        if getattr(parent, name) is not self:
            raise ValueError(
                f"a {type(getattr(parent, name)).__name__} stands where these embeddings were put: "
                "undo what was put there later, then restore"
            )
        setattr(parent, name, self.as_now(original))
        original.train(self.training)
        for name, weight in model.named_parameters():
            weight.requires_grad_(self._flags.get(name, weight.requires_grad))
        self._replaced = []


def _initial(table: Tensor, n_ctx: int | None, init: Tensor | None, seed: int) -> Tensor:
    """Make the first context vectors, in the dtype and on the device of the table of tokens."""
    if n_ctx is not None:
        check_n_ctx(n_ctx)
    if init is None:
        return random_ctx(n_ctx or N_CTX, table.shape[1], seed=seed).to(table)
    if not isinstance(init, Tensor):
        raise TypeError(
            f"init is a {type(init).__name__}: give a tensor, either ids of tokens, (n_ctx,), or "
            f"vectors, (n_ctx, {table.shape[1]})"
        )
    if init.dtype in (torch.int64, torch.int32) and init.dim() == 1 and len(init):
        if int(init.min()) < 0 or int(init.max()) >= len(table):
            raise ValueError(f"init has ids {init.tolist()}: the table goes to {len(table) - 1}")
        init = table[init.to(table.device)]  # (n_ctx, D)
    if init.dim() != 2:
        raise ValueError(f"init has shape {tuple(init.shape)}: give (n_ctx,) ids, or vectors")
    check_ctx(init, table.shape[1])
    if n_ctx not in (None, len(init)):
        raise ValueError(
            f"init has {len(init)} vectors and n_ctx is {n_ctx}: leave n_ctx out, or give the same"
        )
    return init.detach().to(table, copy=True)
