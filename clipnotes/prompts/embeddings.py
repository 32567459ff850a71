"""Learnable vectors in the text tower's input: the fix, as a module to swap in and as a hook.

``CLIPTextEmbeddings`` accepts vectors instead of ids, but no caller passes any, in any version of
transformers. So both forms of the fix work where ids are looked up, below all these callers: they
replace the rows of the placeholder tokens, before the positions are added.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from clipnotes.compat import family_of
from clipnotes.compat.carried import class_of
from clipnotes.compat.compiled import refuse_compiled
from clipnotes.compat.weights import token_table
from clipnotes.prompts.frozen import frozen
from clipnotes.prompts.learnable_table import LearnableTable
from clipnotes.prompts.reading import read_at, reads_of
from clipnotes.prompts.replaced import Replaced
from clipnotes.prompts.substitute import check_ctx, check_end, places, substitute


@contextmanager
def inject(model: nn.Module, ctx: Tensor, start: int | Tensor = 1) -> Iterator[None]:
    """Run a model with context vectors in the place of some of its tokens.

    Inside the ``with``, every text that is encoded gets the vectors, and no parameter of ``model``
    has ``requires_grad`` (except ``ctx`` itself, should it be one of them). Afterwards everything
    is as before, also if an exception was raised. ``backward`` may run later and reaches only
    ``ctx``; with gradient checkpointing it must run inside, since it computes the layers again.
    Contexts at different places can be nested. No other thread should run the model meanwhile.

    Args:
        model: ``CLIPModel``, ``CLIPTextModel``, ``CLIPTextModelWithProjection`` or the tower; a
            model of another family in ``compat.FAMILIES``.
        ctx: (n_ctx, D) for all texts, or (B, n_ctx, D); cast to the dtype and device of the model.
        start: The first place of the context, where 1 is right behind the start token. SigLIP has
            none, so there the first place is 0. For a context in parts, all places as integers,
            (n_ctx,) or (B, n_ctx).

    Raises:
        TypeError: The model has no text tower or one of an unknown family, or an argument has the
            wrong type.
        ValueError: The vectors have the wrong width, a place does not exist, or the model is
            compiled and would leave the vectors out. While a text is encoded: it is too short, it
            is read out at one of the places, or the batch has a different size than ``ctx``.

    Example:
        >>> import clipnotes, torch
        >>> clip = clipnotes.load()
        >>> ids = clip.tokenize(["x x a tulip"])["input_ids"]
        >>> ctx = torch.zeros(2, 128, requires_grad=True)
        >>> with inject(clip.model, ctx, start=1):
        ...     pooled = clip.model.text_model(ids).pooler_output
        >>> pooled[0, 0].backward()
        >>> ctx.grad.abs().sum().item() > 0, clip.model.text_projection.weight.grad
        (True, None)
    """
    reads_of(model)  # raises for an unknown family
    table = family_of(model).token_table(model)
    check_ctx(ctx, token_table(model).embedding_dim)
    positions = places(start, ctx, family_of(model).n_positions(model))
    refuse_compiled(model, [table], "the context")

    def hook(module: nn.Module, args: tuple[Any, ...], tokens: Tensor) -> Tensor:
        mixed = substitute(tokens, ctx, positions)
        check_end(positions, read_at(model, args[0]))
        return mixed

    handle = table.register_forward_hook(hook)
    try:
        with frozen(model, but=ctx):
            yield
    finally:
        handle.remove()


class LearnableTextEmbeddings(Replaced):
    """Replaces ``CLIPTextEmbeddings``, with learnable vectors in the place of some tokens.

    SigLIP's embeddings have the same form. In a BERT, ``replace`` puts a ``LearnableTable`` in the
    place of the token table alone.

    Both tables are frozen copies, and the vectors are a parameter of their own. So an optimizer
    with weight decay cannot shrink the rows of a table that it was never meant to train.

    Args:
        embeddings: The ``CLIPTextEmbeddings`` to replace.
        n_ctx: Number of vectors: 16, or as many as ``init`` has.
        start: The place of the first vector, or all places, as for ``inject``.
        init: The first values: (n_ctx, D) vectors, or (n_ctx,) ids of a text's tokens without start
            and end. ``None`` draws vectors with a standard deviation of 0.02.
        seed: Of the vectors that are drawn.

    Attributes:
        ctx: The parameter, (n_ctx, D), with the dtype and device of the token table.
        ctx_positions: The places of the vectors.
        n_ctx: Their number.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The places, vectors or ids do not fit the tables, ``init`` has not ``n_ctx``
            vectors, or a table is more than its weights, as with LoRA.

    Example:
        >>> import clipnotes, torch
        >>> from clipnotes.compat import text_tower
        >>> original = text_tower(clipnotes.load().model).embeddings
        >>> learnable = LearnableTextEmbeddings(original, n_ctx=2)
        >>> ids = torch.tensor([[3998, 343, 343, 860, 1478, 3999]])
        >>> same = torch.isclose(learnable(ids), original(ids)).all(dim=-1)
        >>> same
        tensor([[ True, False, False,  True,  True,  True]])
    """

    position_ids: Tensor

    def __init__(
        self,
        embeddings: Any,
        n_ctx: int | None = None,
        start: int | Tensor = 1,
        *,
        init: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        for kind in ("token", "position"):
            _check_table(getattr(embeddings, f"{kind}_embedding"))
        limit = embeddings.position_embedding.num_embeddings
        super().__init__(embeddings.token_embedding.weight, limit, n_ctx, start, init, seed)
        self.token_embedding = _frozen_copy(embeddings.token_embedding)
        self.position_embedding = _frozen_copy(embeddings.position_embedding)
        self.register_buffer("position_ids", embeddings.position_ids.clone(), persistent=False)
        self.train(embeddings.training)

    def forward(
        self,
        input_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Map ids, or token vectors that replace their look-up, to the input of the encoder.

        Args:
            input_ids: (B, L), integers, with placeholders for the context vectors.
            position_ids: (B, L) or (1, L), integers; 0 to L - 1 unless given.
            inputs_embeds: (B, L, D), instead of ``input_ids``; not changed in place.

        Returns:
            (B, L, D).

        Raises:
            ValueError: There are neither ids nor vectors, or a text is too short for the context,
                too long for the table of positions, or read out where the context stands.
        """
        text = input_ids if inputs_embeds is None else inputs_embeds
        if text is None:
            raise ValueError("no text was given: pass input_ids (B, L) or inputs_embeds (B, L, D)")
        length, limit = text.shape[1], self.position_embedding.num_embeddings
        if length > limit:
            raise ValueError(f"the text has {length} tokens and the model positions for {limit}")
        if inputs_embeds is None:
            inputs_embeds = self.token_embedding(input_ids)
        embeddings = substitute(inputs_embeds, self.ctx, self.ctx_positions)  # (B, L, D)
        if input_ids is not None and self._replaced:
            check_end(self.ctx_positions, read_at(self._replaced[0], input_ids))
        if position_ids is None:
            position_ids = self.position_ids[:, :length]  # (1, L)
        return embeddings + self.position_embedding(position_ids)

    def as_now(self, original: Any) -> Any:
        """Bring the original to the device and dtype of the copies."""
        return original.to(self.token_embedding.weight)

    @classmethod
    def replace(
        cls,
        model: nn.Module,
        n_ctx: int | None = None,
        start: int | Tensor = 1,
        *,
        init: Tensor | None = None,
        seed: int = 0,
    ) -> "LearnableTextEmbeddings | LearnableTable":
        """Put learnable embeddings into a model, and freeze all the rest of it.

        Args:
            model: As for ``inject``.
            n_ctx: Number of vectors: 16, or as many as ``init`` has.
            start: The place of the first vector, or all places, as for ``inject``.
            init: The first values of the vectors, or ids of tokens, as for the class.
            seed: Of vectors that are drawn.

        Returns:
            The new module; of a BERT, a ``LearnableTable``. ``ctx`` is its parameter;
            ``restore()`` takes it out again.

        Raises:
            TypeError, ValueError: As for the class. The model is then unchanged.

        Example:
            >>> import clipnotes
            >>> model = clipnotes.load().model
            >>> learnable = LearnableTextEmbeddings.replace(model, n_ctx=4)
            >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
            ['text_model.embeddings.ctx']
            >>> learnable.restore()
        """
        reads_of(model)  # raises for an unknown family
        family = family_of(model)
        embeddings, table = family.text_embeddings(model), family.token_table(model)
        for module in (embeddings, table):
            if isinstance(module, Replaced):
                raise ValueError(
                    "this model's text embeddings were replaced before, with "
                    f"{module.n_ctx} context vectors: call restore() on what replace() returned, "
                    "then replace again"
                )
        if not hasattr(embeddings, "token_embedding"):  # a BERT's, which add and norm more
            limit = family.n_positions(model)
            rows = LearnableTable(table, limit, n_ctx, start, init=init, seed=seed)
            rows.put_into(model, embeddings, table)
            return rows
        learnable = cls(embeddings, n_ctx, start, init=init, seed=seed)
        learnable.put_into(model, family.text_tower(model), embeddings)
        return learnable


def _check_table(table: nn.Module) -> None:
    if type(table) is not nn.Embedding or table.max_norm is not None:
        raise ValueError(
            f"an embedding is a {class_of(table)}, and a copy of its weights would not compute the "
            "same: give a plain nn.Embedding without max_norm; of a model of PEFT, what "
            "merge_and_unload() returns"
        )


def _frozen_copy(table: nn.Embedding) -> nn.Embedding:
    # copy.deepcopy would copy the hooks as well, for instance that of `inject`.
    return nn.Embedding.from_pretrained(table.weight.detach().clone(), freeze=True)
