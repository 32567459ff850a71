"""The encoder that both towers of CLIP share, in plain PyTorch, to be read from top to bottom.

The reference is ``transformers/models/clip/modeling_clip.py``; the parameters carry the names they
have in its checkpoints, so weights load by name. In the shape comments:
B, images or texts in the batch; L, tokens in a sequence; D, the width of the tower
(``hidden_size``); H, attention heads; d = D / H, the width of a head.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from clipnotes.model.checks import check_heads, check_positive

AttentionPath = Literal["sdpa", "written_out"]


def quick_gelu(x: Tensor) -> Tensor:
    """Apply ``x * sigmoid(1.702 x)``, the activation of OpenAI's CLIP.

    An approximation of GELU (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415). It differs
    from the exact one by up to 0.02, so a checkpoint trained with one must be run with it.

    Args:
        x: Any shape, floating point. The result has the same shape and dtype.

    Example:
        >>> quick_gelu(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.1542,  0.0000,  0.8458])
    """
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),  # SigLIP's
}


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., https://arxiv.org/abs/1706.03762).

    There are two paths to the same result. ``"written_out"`` is the formula line by line, and has
    weights to show. ``"sdpa"`` leaves it to PyTorch's fused kernel, which is faster because it
    never forms the (L, L) weights. Asking for weights takes the first path, whatever is set.

    Args:
        hidden_size: The width, D.
        num_attention_heads: Heads that D is divided among.
        attention_dropout: Share of weights set to zero in training mode.
        attention: ``"sdpa"`` or ``"written_out"``.

    Raises:
        ValueError: ``hidden_size`` is not a multiple of ``num_attention_heads``, or ``attention``
            is not one of the two.

    Example:
        >>> attend = Attention(hidden_size=8, num_attention_heads=2)
        >>> mixed, weights = attend(torch.randn(1, 5, 8), output_attentions=True)
        >>> mixed.shape, weights.shape
        (torch.Size([1, 5, 8]), torch.Size([1, 2, 5, 5]))
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        num_attention_heads: int,
        attention_dropout: float = 0.0,
        attention: AttentionPath = "sdpa",
    ) -> None:
        check_heads(hidden_size, num_attention_heads)
        if attention not in ("sdpa", "written_out"):
            raise ValueError(f"attention {attention!r} is not one of 'sdpa', 'written_out'")
        super().__init__()
        self.num_heads = num_attention_heads
        self.head_dim = hidden_size // num_attention_heads
        # A dot product of head_dim random terms grows like sqrt(head_dim). Without the scale the
        # softmax would saturate in wide heads, and its gradient vanish.
        self.scale = self.head_dim**-0.5
        self.attention_dropout = attention_dropout
        self.attention = attention
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, hidden_states: Tensor, mask: Tensor | None = None, *, output_attentions: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Let every token collect from the tokens it may look at.

        Args:
            hidden_states: (B, L, D).
            mask: Added to the scores before the softmax: 0 where a token may look, the lowest
                number of the dtype (or ``-inf``) where it may not. Any shape that broadcasts to
                (B, H, L, L), the dtype of ``hidden_states``. ``None`` lets every token look
                everywhere.
            output_attentions: Return the weights too.

        Returns:
            The new (B, L, D) states and the (B, H, L, L) weights, or ``None`` in their place.
        """
        query = self._split_heads(self.q_proj(hidden_states))  # (B, H, L, d)
        key = self._split_heads(self.k_proj(hidden_states))  # (B, H, L, d)
        value = self._split_heads(self.v_proj(hidden_states))  # (B, H, L, d)

        weights = None
        if self.attention == "written_out" or output_attentions:
            mixed, weights = self._written_out(query, key, value, mask)
        else:
            dropout = self.attention_dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, dropout_p=dropout, scale=self.scale
            )

        merged = mixed.transpose(1, 2).flatten(2)  # (B, L, H, d) -> (B, L, D)
        return self.out_proj(merged), weights if output_attentions else None

    def _split_heads(self, x: Tensor) -> Tensor:
        # A head is a run of neighbouring channels, so head_dim is the inner of the two.
        x = x.unflatten(-1, (self.num_heads, self.head_dim))  # (B, L, H, d)
        return x.transpose(1, 2)  # (B, H, L, d)

    def _written_out(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        scores = query @ key.transpose(-1, -2) * self.scale  # (B, H, L, L)
        if mask is not None:
            scores = scores + mask
        # In half precision a row's shares do not add up to 1, which their gradient relies on.
        at_least_float32 = torch.promote_types(scores.dtype, torch.float32)
        weights = scores.softmax(dim=-1, dtype=at_least_float32).to(query.dtype)
        weights = F.dropout(weights, p=self.attention_dropout, training=self.training)
        return weights @ value, weights  # (B, H, L, d), (B, H, L, L)


class MLP(nn.Module):
    """Two linear layers with an activation between them, applied to every token by itself.

    Args:
        hidden_size: The width, D.
        intermediate_size: Width between the two layers, usually 4 D.
        hidden_act: ``"quick_gelu"``, ``"gelu"`` or ``"gelu_pytorch_tanh"``.

    Raises:
        ValueError: ``hidden_act`` is none of them.

    Example:
        >>> MLP(hidden_size=8, intermediate_size=32)(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self, *, hidden_size: int, intermediate_size: int, hidden_act: str = "quick_gelu"
    ) -> None:
        if hidden_act not in ACTIVATIONS:
            raise ValueError(f"hidden_act {hidden_act!r} is not one of {sorted(ACTIVATIONS)}")
        super().__init__()
        self.activation = ACTIVATIONS[hidden_act]
        self.fc1 = nn.Linear(hidden_size, intermediate_size)
        self.fc2 = nn.Linear(intermediate_size, hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        wide = self.fc1(hidden_states)  # (B, L, intermediate_size)
        return self.fc2(self.activation(wide))  # (B, L, D)


class EncoderLayer(nn.Module):
    """Attention, then MLP, each normalised before and added to the residual stream after.

    The norm stands on the branch ("pre-norm", Xiong et al., https://arxiv.org/abs/2002.04745), so
    the stream itself runs from the first layer to the last without being rescaled.

    Args:
        layer_norm_eps: Added to the variance in both norms.
        hidden_size, num_attention_heads, attention_dropout, attention: As in ``Attention``.
        intermediate_size, hidden_act: As in ``MLP``.

    Raises:
        ValueError: As in ``Attention`` and ``MLP``.

    Example:
        >>> layer = EncoderLayer(hidden_size=8, num_attention_heads=2, intermediate_size=32)
        >>> hidden_states, weights = layer(torch.randn(1, 5, 8))
        >>> hidden_states.shape, weights
        (torch.Size([1, 5, 8]), None)
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        num_attention_heads: int,
        intermediate_size: int,
        hidden_act: str = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        attention: AttentionPath = "sdpa",
    ) -> None:
        super().__init__()
        self.self_attn = Attention(
            hidden_size=hidden_size,
            num_attention_heads=num_attention_heads,
            attention_dropout=attention_dropout,
            attention=attention,
        )
        self.layer_norm1 = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.mlp = MLP(
            hidden_size=hidden_size, intermediate_size=intermediate_size, hidden_act=hidden_act
        )
        self.layer_norm2 = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        *,
        output_attentions: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Map (B, L, D) to (B, L, D); arguments and returns as in ``Attention.forward``."""
        mixed, weights = self.self_attn(
            self.layer_norm1(hidden_states), mask, output_attentions=output_attentions
        )
        hidden_states = hidden_states + mixed
        hidden_states = hidden_states + self.mlp(self.layer_norm2(hidden_states))
        return hidden_states, weights


class EncoderOutput(NamedTuple):
    """What an encoder returns; the tuples are ``None`` unless asked for.

    Attributes:
        last_hidden_state: (B, L, D), the output of the last layer.
        hidden_states: n_layers + 1 of (B, L, D): what went in, then what each layer made of it.
        attentions: n_layers of (B, H, L, L).
    """

    last_hidden_state: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class Encoder(nn.Module):
    """A stack of encoder layers.

    Args:
        num_hidden_layers: How many.
        gradient_checkpointing: In training mode keep only the input of each layer and compute the
            rest again on the way back (Chen et al., https://arxiv.org/abs/1604.06174): less memory
            for one more forward pass. May also be set later, as an attribute.
        **layer: Arguments of ``EncoderLayer``, the same for every layer.

    Example:
        >>> encoder = Encoder(num_hidden_layers=3, hidden_size=8, num_attention_heads=2,
        ...                   intermediate_size=32)
        >>> output = encoder(torch.randn(1, 5, 8), output_hidden_states=True)
        >>> output.last_hidden_state.shape, len(output.hidden_states), output.attentions
        (torch.Size([1, 5, 8]), 4, None)
    """

    def __init__(
        self, *, num_hidden_layers: int, gradient_checkpointing: bool = False, **layer: Any
    ) -> None:
        check_positive(num_hidden_layers=num_hidden_layers)
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(**layer) for _ in range(num_hidden_layers))
        self.gradient_checkpointing = gradient_checkpointing

    def forward(
        self,
        hidden_states: Tensor,
        mask: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Run the layers one after the other.

        Args:
            hidden_states: (B, L, D), the embedded tokens.
            mask: As in ``Attention.forward``; the same for all layers.
            output_hidden_states: Return the states between the layers too.
            output_attentions: Return the attention weights too.
        """
        all_states, all_weights = [hidden_states], []
        for layer in self.layers:
            # A reentrant checkpoint gives no gradients if its input needs none.
            again = self.gradient_checkpointing and self.training
            run = partial(checkpoint, layer, use_reentrant=False) if again else layer
            hidden_states, weights = run(
                hidden_states,
                mask,
                output_attentions=output_attentions,
            )
            if output_hidden_states:  # kept only if wanted: it keeps the memory, too
                all_states.append(hidden_states)
            if output_attentions:
                all_weights.append(weights)
        return EncoderOutput(
            last_hidden_state=hidden_states,
            hidden_states=tuple(all_states) if output_hidden_states else None,
            attentions=tuple(all_weights) if output_attentions else None,
        )
