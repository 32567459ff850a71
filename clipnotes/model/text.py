"""CLIP's text tower in plain PyTorch: token ids to tokens, a causal encoder, one vector a text.

The reference is ``CLIPTextModel`` of transformers; parameters carry the names that they have in
its checkpoints. The letters of the shape comments are those of ``encoder.py``; here L counts the
tokens of a text, start, end and padding included.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from clipnotes.compat import text_tower
from clipnotes.compat.carried import TEXT, check_copyable, end_rule
from clipnotes.model.checks import check_ends, check_mask, check_tokens
from clipnotes.model.copying import copy_tower
from clipnotes.model.encoder import AttentionPath, Encoder
from clipnotes.model.masks import causal_mask

# What the arithmetic depends on, under the names of a CLIPTextConfig.
_CONFIG_NAMES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)


def eos_positions(input_ids: Tensor, eos_token_id: int, by_place: bool = False) -> Tensor:
    """Find where each text ends, by the two rules of transformers.

    Configs written before 4.31 carry ``eos_token_id=2``, which is not the id of CLIP's end token.
    For them the end is where the *largest* id stands, which is right as long as no token is added
    behind the end token. For all others it is the *first* place of ``eos_token_id``, the first
    because the padding may be the same token. A text without it counts as ending at its start,
    as in transformers: there its vector is that of the start token, whatever the text says.

    MetaCLIP 2 has the second rule only, and an end token whose id is 2.

    Args:
        input_ids: (B, L), integers.
        eos_token_id: The config's.
        by_place: Take the first place of ``eos_token_id`` whatever its number is. With the end
            token of the *tokenizer*, this is where a text does end.

    Returns:
        (B,), integers.

    Example:
        >>> ids = torch.tensor([[90, 5, 91, 91], [90, 5, 95, 91]])  # 91 ends a text, 95 was added
        >>> eos_positions(ids, eos_token_id=91), eos_positions(ids, eos_token_id=2)
        (tensor([2, 3]), tensor([2, 2]))
    """
    if eos_token_id == 2 and not by_place:
        return input_ids.argmax(dim=-1)  # of equal ones, the first
    return (input_ids == eos_token_id).int().argmax(dim=-1)


class TextEmbeddings(nn.Module):
    """Turn token ids into vectors: a row of one table for the token, of another for its place.

    Args:
        vocab_size: Rows of the table of tokens.
        hidden_size: The width, D.
        max_position_embeddings: Rows of the table of positions, the longest text.

    Example:
        >>> embed = TextEmbeddings(vocab_size=20, hidden_size=6, max_position_embeddings=9)
        >>> ids = torch.tensor([[1, 7, 8, 19]])
        >>> embed(ids).shape
        torch.Size([1, 4, 6])
        >>> torch.allclose(embed(inputs_embeds=embed.token_embedding(ids)), embed(ids))
        True
    """

    position_ids: Tensor

    def __init__(self, *, vocab_size: int, hidden_size: int, max_position_embeddings: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, hidden_size)
        self.position_embedding = nn.Embedding(max_position_embeddings, hidden_size)
        # Not a weight, so it is not saved; a buffer, so it moves to the device with the rest.
        self.register_buffer(
            "position_ids", torch.arange(max_position_embeddings).unsqueeze(0), persistent=False
        )

    def forward(
        self,
        input_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Map ids, or vectors that stand in for the tokens' own, to what enters the encoder.

        Args:
            input_ids: (B, L), integers.
            position_ids: (B, L), (1, L) or (L,), integers; 0 to L - 1 unless given.
            inputs_embeds: (B, L, D), instead of ``input_ids``; cast to the dtype of the weights.

        Returns:
            (B, L, D).

        Raises:
            ValueError: Both or neither of ids and embeddings, a batch or text of nothing, a
                wrong shape or dtype, ids outside their table, more tokens than positions.
        """
        self.check(input_ids, position_ids, inputs_embeds)
        if inputs_embeds is None:
            inputs_embeds = self.token_embedding(input_ids)  # (B, L, D)
        if position_ids is None:
            position_ids = self.position_ids[:, : inputs_embeds.shape[1]]  # (1, L)
        positions = self.position_embedding(position_ids)  # (1, L, D) or (B, L, D)
        return inputs_embeds.to(positions.dtype) + positions  # (B, L, D)

    def check(
        self, input_ids: Tensor | None, position_ids: Tensor | None, inputs_embeds: Tensor | None
    ) -> tuple[int, int]:
        """Raise what ``forward`` raises, before any work; otherwise return B and L."""
        tables = self.token_embedding.weight, self.position_embedding.weight
        return check_tokens(input_ids, position_ids, inputs_embeds, *tables)


class TextOutput(NamedTuple):
    """What the text tower returns; the tuples are ``None`` unless asked for.

    Attributes:
        last_hidden_state: (B, L, D), the output of the last layer after ``final_layer_norm``.
        pooler_output: (B, D), the row of ``last_hidden_state`` at the end of each text.
        hidden_states: n_layers + 1 of (B, L, D): what went into the encoder, then what each layer
            made of it. The last one is *before* ``final_layer_norm``.
        attentions: n_layers of (B, H, L, L).
    """

    last_hidden_state: Tensor
    pooler_output: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class TextTower(nn.Module):
    """CLIP's text encoder up to the pooled vector (https://arxiv.org/abs/2103.00020).

    The defaults are those of ViT-B/32.

    Args:
        vocab_size: Token ids that there are.
        hidden_size: The width, D.
        num_hidden_layers: Layers of the encoder.
        num_attention_heads: Heads that D is divided among.
        intermediate_size: Width inside the MLPs.
        max_position_embeddings: Tokens in the longest text.
        hidden_act: ``"quick_gelu"``, ``"gelu"`` or ``"gelu_pytorch_tanh"``.
        layer_norm_eps: Added to the variance in all norms.
        attention_dropout: Share of attention weights set to zero in training mode.
        eos_token_id: Where to pool, see ``eos_positions``.
        by_place: Likewise.
        attention: ``"sdpa"`` or ``"written_out"``, see ``Attention``.

    Raises:
        ValueError: The numbers do not fit each other, or a name is unknown.

    Example:
        >>> tower = TextTower(vocab_size=20, hidden_size=6, num_hidden_layers=2, eos_token_id=19,
        ...                   num_attention_heads=2, intermediate_size=12)
        >>> output = tower(torch.tensor([[1, 7, 8, 19]]), output_attentions=True)
        >>> output.pooler_output.shape, output.attentions[0].shape
        (torch.Size([1, 6]), torch.Size([1, 2, 4, 4]))
        >>> torch.equal(output.pooler_output, output.last_hidden_state[:, 3])
        True
    """

    def __init__(
        self,
        *,
        vocab_size: int = 49408,
        hidden_size: int = 512,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 8,
        intermediate_size: int = 2048,
        max_position_embeddings: int = 77,
        hidden_act: str = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        eos_token_id: int = 49407,
        by_place: bool = False,
        attention: AttentionPath = "sdpa",
    ) -> None:
        super().__init__()
        self.eos_token_id = eos_token_id
        self.by_place = by_place
        self.embeddings = TextEmbeddings(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            max_position_embeddings=max_position_embeddings,
        )
        self.encoder = Encoder(
            num_hidden_layers=num_hidden_layers,
            hidden_size=hidden_size,
            num_attention_heads=num_attention_heads,
            intermediate_size=intermediate_size,
            hidden_act=hidden_act,
            layer_norm_eps=layer_norm_eps,
            attention_dropout=attention_dropout,
            attention=attention,
        )
        self.final_layer_norm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    @classmethod
    def from_transformers(cls, model: nn.Module) -> "TextTower":
        """Build a tower with a copy of the weights of a transformers model.

        Args:
            model: ``CLIPModel``, ``CLIPTextModel``, ``CLIPTextModelWithProjection`` or the tower
                inside one, of any supported version. Or a model with the same text tower, which may
                pool by another rule: of MetaCLIP 2, CLIPSeg, GroupViT, X-CLIP, OWL-ViT, OWLv2.

        Returns:
            A tower with the same numbers, dtype, device, attention dropout and training or
            evaluation mode. It shares no memory with ``model``.

        Raises:
            TypeError: The model has no CLIP text tower, one of a family that computes otherwise,
                or one in which parts were replaced, as PEFT does.
            ValueError: The model's activation is none of those that ``MLP`` has; its weights
                are offloaded; it does not know its end token.

        Example:
            >>> from transformers import CLIPTextConfig, CLIPTextModel
            >>> config = CLIPTextConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=2)
            >>> model = CLIPTextModel(config)
            >>> tower = TextTower.from_transformers(model)
            >>> ids = torch.tensor([[49406, 320, 49407]])
            >>> theirs = model(ids).pooler_output
            >>> torch.allclose(tower(ids).pooler_output, theirs, atol=1e-5)
            True
        """
        tower = text_tower(model)
        check_copyable(tower, "text tower", TEXT)
        return copy_tower(cls, tower, _CONFIG_NAMES, **end_rule(tower)._asdict())

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        eos_positions: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> TextOutput:
        """Encode a batch of texts.

        Args:
            input_ids: (B, L), integers.
            attention_mask: (B, L), 1 for tokens and 0 for padding; ``None`` means all tokens.
            position_ids: (B, L), (1, L) or (L,), integers; 0 to L - 1 unless given.
            inputs_embeds: (B, L, D), instead of ``input_ids``. No version of ``CLIPTextModel``
                takes it, although its embeddings do; here it arrives.
            eos_positions: (B,), integers: where to pool. Needed with ``inputs_embeds``, from which
                nobody can tell where a text ends; with ``input_ids``, instead of looking there.
            output_hidden_states: Return the states between the layers too.
            output_attentions: Return the attention weights too, on the written-out path.

        Raises:
            ValueError: As in ``TextEmbeddings.forward``; an ``attention_mask`` of another shape;
                ``eos_positions`` missing, of another shape or past the end.
        """
        self.check(input_ids, attention_mask, position_ids, inputs_embeds, eos_positions)
        tokens = self.embeddings(input_ids, position_ids, inputs_embeds)  # (B, L, D)
        mask = causal_mask(
            tokens.shape[1], attention_mask, dtype=tokens.dtype, device=tokens.device
        )
        encoded, hidden_states, attentions = self.encoder(
            tokens,
            mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        last_hidden_state = self.final_layer_norm(encoded)  # (B, L, D)
        ends = self._ends(input_ids) if eos_positions is None else eos_positions  # (B,)
        # This row has seen the whole text. No token looks ahead, so most rows have not.
        rows = torch.arange(len(ends), device=ends.device)
        pooler_output = last_hidden_state[rows, ends]  # (B, D)
        return TextOutput(last_hidden_state, pooler_output, hidden_states, attentions)

    def _ends(self, input_ids: Any) -> Tensor:
        return eos_positions(input_ids, self.eos_token_id, self.by_place)

    def check(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        eos_positions: Tensor | None,
    ) -> int:
        """Raise what ``forward`` raises, before any work; otherwise return B."""
        shape = self.embeddings.check(input_ids, position_ids, inputs_embeds)
        check_mask(attention_mask, shape)
        check_ends(eos_positions, shape, needed=input_ids is None)
        return shape[0]
