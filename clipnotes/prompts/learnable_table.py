"""Learnable vectors in the token table of a BERT, which adds more to them than positions."""

from typing import Any

from torch import Tensor, nn

from clipnotes.compat.compiled import original
from clipnotes.prompts.reading import read_at
from clipnotes.prompts.replaced import Replaced
from clipnotes.prompts.substitute import check_end, substitute


class LearnableTable(Replaced):
    """Stands around a token table, with learnable vectors in the place of some tokens.

    The embeddings of CLIP are two tables and a sum, and ``LearnableTextEmbeddings`` replaces them
    whole. Those of a BERT have a third table and a norm, so here the token table alone is replaced,
    and everything behind it stays the model's own. ``LearnableTextEmbeddings.replace`` makes one.

    Args:
        table: The token table, which is kept, not copied.
        limit: How many positions the model has.
        n_ctx: Number of vectors: 16, or as many as ``init`` has.
        start: The place of the first vector, or all places, as for ``inject``.
        init: The first values: vectors or ids, as for ``LearnableTextEmbeddings``.
        seed: Of vectors that are drawn.

    Attributes:
        ctx: The parameter, (n_ctx, D), with the dtype and device of the table.
        ctx_positions: The places of the vectors.
        n_ctx: Their number.

    Raises:
        TypeError, ValueError: As ``LearnableTextEmbeddings``.

    Example:
        >>> import torch
        >>> table = nn.Embedding(20, 8)
        >>> learnable = LearnableTable(table, limit=9, n_ctx=2)
        >>> ids = torch.tensor([[1, 7, 7, 5]])
        >>> torch.isclose(learnable(ids), table(ids)).all(dim=-1)
        tensor([[ True, False, False,  True]])
    """

    def __init__(
        self,
        table: nn.Module,
        limit: int,
        n_ctx: int | None = None,
        start: int | Tensor = 1,
        *,
        init: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        inside: Any = original(table)
        weight = getattr(inside, "base_layer", inside).weight
        super().__init__(weight, limit, n_ctx, start, init, seed)
        self.base_layer = table  # the name that PEFT has for what is inside
        self.train(table.training)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look ids up, and put the context in: (B, L) to (B, L, D).

        Raises:
            ValueError: A text is too short for the context, or read out where it stands.
        """
        tokens = substitute(self.base_layer(input_ids), self.ctx, self.ctx_positions)  # (B, L, D)
        if self._replaced:
            check_end(self.ctx_positions, read_at(self._replaced[-1], input_ids))
        return tokens
