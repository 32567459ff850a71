"""Learnable vectors in the text tower's input: the fix, as a module to swap in and as a hook.

``CLIPTextEmbeddings`` accepts vectors instead of ids, but no caller passes any, in any version of
transformers. So both forms of the fix work where ids are looked up, below all these callers: they
replace the rows of the placeholder tokens, before the positions are added.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import text_tower
from clipnotes.compat.carried import class_of, end_rule
from clipnotes.compat.compiled import refuse_compiled
from clipnotes.compat.weights import token_table
from clipnotes.model import eos_positions
from clipnotes.prompts.frozen import frozen
from clipnotes.prompts.layout import check_n_ctx
from clipnotes.prompts.substitute import check_ctx, check_end, places, random_ctx, substitute

N_CTX = 16  # CoOp's default


@contextmanager
def inject(model: nn.Module, ctx: Tensor, start: int | Tensor = 1) -> Iterator[None]:
    """Run a CLIP with context vectors in the place of some of its tokens.

    Inside the ``with``, every text that is encoded gets the vectors, and no parameter of ``model``
    has ``requires_grad`` (except ``ctx`` itself, should it be one of them). Afterwards everything
    is as before, also if an exception was raised. ``backward`` may run later and reaches only
    ``ctx``; with gradient checkpointing it must run inside, since it computes the layers again.
    Contexts at different places can be nested. No other thread should run the model meanwhile.

    Args:
        model: ``CLIPModel``, ``CLIPTextModel``, ``CLIPTextModelWithProjection`` or the tower.
        ctx: (n_ctx, D) for all texts, or (B, n_ctx, D); cast to the dtype and device of the model.
        start: The first place of the context, where 1 is right behind the start token. For a
            context in parts, all places as integers, (n_ctx,) or (B, n_ctx).

    Raises:
        TypeError: The model has no CLIP text tower or one of an unknown family, or an argument has
            the wrong type.
        ValueError: The vectors have the wrong width, a place does not exist, or the model is
            compiled and would leave the vectors out. While a text is encoded: it is too short, it
            ends at one of the places, or the batch has a different size than ``ctx``.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> ids = clip.tokenize(["x x a tulip"])["input_ids"]
        >>> ctx = torch.zeros(2, 128, requires_grad=True)
        >>> with inject(clip.model, ctx, start=1):
        ...     pooled = clip.model.text_model(ids).pooler_output
        >>> pooled[0, 0].backward()
        >>> ctx.grad.abs().sum().item() > 0, clip.model.text_projection.weight.grad
        (True, None)
    """
    tower: Any = text_tower(model)
    embeddings = tower.embeddings
    end_rule(tower)  # raises for an unknown family
    check_ctx(ctx, token_table(tower).embedding_dim)
    positions = places(start, ctx, embeddings.position_embedding.num_embeddings)
    refuse_compiled(model, [embeddings.token_embedding], "the context")

    def hook(module: nn.Module, args: tuple[Any, ...], tokens: Tensor) -> Tensor:
        mixed = substitute(tokens, ctx, positions)
        _check_readable(tower, args[0], positions)
        return mixed

    handle = embeddings.token_embedding.register_forward_hook(hook)
    try:
        with frozen(model, but=ctx):
            yield
    finally:
        handle.remove()


def _check_readable(tower: Any, input_ids: Tensor, positions: Tensor) -> None:
    check_end(positions, eos_positions(input_ids, *end_rule(tower)))


class LearnableTextEmbeddings(nn.Module):
    """Replaces ``CLIPTextEmbeddings``, with learnable vectors in the place of some tokens.

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
        >>> import clipnotes
        >>> from clipnotes.compat import text_tower
        >>> original = text_tower(clipnotes.load().model).embeddings
        >>> learnable = LearnableTextEmbeddings(original, n_ctx=2)
        >>> ids = torch.tensor([[3998, 343, 343, 860, 1478, 3999]])
        >>> same = torch.isclose(learnable(ids), original(ids)).all(dim=-1)
        >>> same
        tensor([[ True, False, False,  True,  True,  True]])
    """

    position_ids: Tensor
    ctx_positions: Tensor

    def __init__(
        self,
        embeddings: Any,
        n_ctx: int | None = None,
        start: int | Tensor = 1,
        *,
        init: Tensor | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for kind in ("token", "position"):
            _check_table(getattr(embeddings, f"{kind}_embedding"))
        ctx = _initial(embeddings.token_embedding.weight, n_ctx, init, seed)
        positions = places(start, ctx, embeddings.position_embedding.num_embeddings)
        self.token_embedding = _frozen_copy(embeddings.token_embedding)
        self.position_embedding = _frozen_copy(embeddings.position_embedding)
        self.register_buffer("position_ids", embeddings.position_ids.clone(), persistent=False)
        self.register_buffer("ctx_positions", positions, persistent=False)
        self.ctx = nn.Parameter(ctx)  # (n_ctx, D)
        self.n_ctx = len(ctx)
        self.train(embeddings.training)
        # A list hides these modules from torch. Else the state dict would hold their weights twice.
        self._replaced: list[Any] = []
        self._flags: dict[str, bool] = {}

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
                too long for the table of positions, or ends where the context stands.
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
            _check_readable(self._replaced[0], input_ids, self.ctx_positions)
        if position_ids is None:
            position_ids = self.position_ids[:, :length]  # (1, L)
        return embeddings + self.position_embedding(position_ids)

    @classmethod
    def replace(
        cls,
        model: nn.Module,
        n_ctx: int | None = None,
        start: int | Tensor = 1,
        *,
        init: Tensor | None = None,
        seed: int = 0,
    ) -> "LearnableTextEmbeddings":
        """Put learnable embeddings into a CLIP, and freeze all the rest of it.

        Args:
            model: ``CLIPModel``, ``CLIPTextModel``, ``CLIPTextModelWithProjection`` or the tower.
            n_ctx: Number of vectors: 16, or as many as ``init`` has.
            start: The place of the first vector, or all places.
            init: The first values of the vectors, or ids of tokens, as for the class.
            seed: Of vectors that are drawn.

        Returns:
            The new module. ``ctx`` is its parameter; ``restore()`` takes it out again.

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
        tower: Any = text_tower(model)
        end_rule(tower)  # raises for an unknown family
        original = tower.embeddings
        if isinstance(original, LearnableTextEmbeddings):
            raise ValueError(
                f"this model's text embeddings were replaced before, with {original.n_ctx} context "
                "vectors: call restore() on what replace() returned, then replace again"
            )
        learnable = cls(original, n_ctx, start, init=init, seed=seed)
        learnable._replaced = [tower, original, model]
        learnable._flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
        model.requires_grad_(False)
        tower.embeddings = learnable
        return learnable

    def restore(self) -> None:
        """Put the original embeddings back, the same object with the same bits.

        Every parameter gets back the ``requires_grad`` it had before ``replace``. If the model has
        moved to a different device or dtype meanwhile, the original moves too.

        Raises:
            ValueError: This module is in no model, or not in it any more.

        Example:
            >>> import clipnotes
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
        tower, original, model = self._replaced
        if tower.embeddings is not self:
            raise ValueError(
                f"a {type(tower.embeddings).__name__} stands where these embeddings were put: "
                "undo what was put there later, then restore"
            )
        tower.embeddings = original.to(self.token_embedding.weight)
        original.train(self.training)
        for name, weight in model.named_parameters():
            weight.requires_grad_(self._flags.get(name, weight.requires_grad))
        self._replaced = []


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
