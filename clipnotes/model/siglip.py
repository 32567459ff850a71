"""What SigLIP does in another way than CLIP: it pools by attention, and judges each pair alone.

The paper is "Sigmoid Loss for Language Image Pre-Training" (Zhai et al. 2023, arXiv 2303.15343),
the reference ``transformers/models/siglip/modeling_siglip.py``. Parameters carry the names that
they have in its checkpoints. In the shape comments, besides the letters of ``encoder.py``:
N, patches in one image; P, the width of the space that images and texts share. Here B pairs of an
image and its text come together, and there is no class token.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipnotes.compat.carried import check_copyable, family
from clipnotes.model.checks import check_heads, check_pairs
from clipnotes.model.copying import copy_weights
from clipnotes.model.encoder import MLP


class CrossAttention(nn.Module):
    """Multi-head attention in which some vectors ask and others answer.

    The projections of query, key and value lie on top of each other in one matrix, as in PyTorch's
    ``nn.MultiheadAttention``, which SigLIP's checkpoints come from.

    Args:
        hidden_size: The width, D.
        num_attention_heads: Heads that D is divided among, H.

    Raises:
        ValueError: ``hidden_size`` is not a multiple of ``num_attention_heads``.

    Example:
        >>> attend = CrossAttention(hidden_size=8, num_attention_heads=2)
        >>> mixed, weights = attend(torch.randn(1, 1, 8), torch.randn(3, 16, 8))
        >>> mixed.shape, weights.shape
        (torch.Size([3, 1, 8]), torch.Size([3, 2, 1, 16]))
    """

    def __init__(self, *, hidden_size: int, num_attention_heads: int) -> None:
        check_heads(hidden_size, num_attention_heads)
        super().__init__()
        self.num_heads = num_attention_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden_size))
        self.out_proj = nn.Linear(hidden_size, hidden_size)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, asking: Tensor, answering: Tensor) -> tuple[Tensor, Tensor]:
        """Let each vector of ``asking`` collect from all of ``answering``.

        Args:
            asking: (B, n, D), or (1, n, D) if all images are asked the same.
            answering: (B, N, D).

        Returns:
            What each one collected, (B, n, D), and from where, (B, H, n, N).
        """
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip(
                (asking, answering, answering),
                self.in_proj_weight.chunk(3),  # three of (D, D)
                self.in_proj_bias.chunk(3),
                strict=True,
            )
        )  # (B, H, n, d), (B, H, N, d), (B, H, N, d)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (B, H, n, N)
        weights = scores.softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).flatten(2)  # (B, n, H, d) -> (B, n, D)
        return self.out_proj(mixed), weights


class AttentionPooling(nn.Module):
    """SigLIP's way from patches to one vector: a learned vector asks, and all patches answer.

    It takes the place of CLIP's class token. That one travels through all layers with the patches;
    the probe comes once, behind the last layer, and asks the same question of every image. Then
    follow a norm and an MLP, added to what the probe collected. (The idea is from Set Transformer,
    where it is called pooling by multi-head attention.)

    Args:
        hidden_size: The width, D.
        num_attention_heads: Heads that D is divided among.
        intermediate_size: Width inside the MLP.
        hidden_act: As in ``MLP``.
        layer_norm_eps: Added to the variance in the norm.

    Raises:
        ValueError: As in ``CrossAttention`` and ``MLP``.

    Example:
        >>> pool = AttentionPooling(hidden_size=8, num_attention_heads=2, intermediate_size=32)
        >>> patches = torch.randn(3, 16, 8)
        >>> pool(patches).shape
        torch.Size([3, 8])
        >>> _, weights = pool.attention(pool.probe, patches)  # where it looks, in each head
        >>> weights.shape
        torch.Size([3, 2, 1, 16])
    """

    def __init__(
        self,
        *,
        hidden_size: int,
        num_attention_heads: int,
        intermediate_size: int,
        hidden_act: str = "gelu_pytorch_tanh",
        layer_norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.randn(1, 1, hidden_size))
        self.attention = CrossAttention(
            hidden_size=hidden_size, num_attention_heads=num_attention_heads
        )
        self.layernorm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)
        self.mlp = MLP(
            hidden_size=hidden_size, intermediate_size=intermediate_size, hidden_act=hidden_act
        )

    @classmethod
    def from_transformers(cls, head: nn.Module) -> "AttentionPooling":
        """Build one with a copy of the weights of the head of a transformers model.

        Args:
            head: ``vision_model.head`` of a ``SiglipModel``, of any supported version.

        Returns:
            One with the same numbers, dtype, device and mode. It shares no memory with ``head``.

        Raises:
            TypeError: ``head`` is something else, or parts of it were replaced, as PEFT does.
            ValueError: Its activation is none of those that ``MLP`` has.

        Example:
            >>> from transformers import SiglipConfig, SiglipModel
            >>> small = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
            >>> model = SiglipModel(SiglipConfig(text_config=small, vision_config=small))
            >>> head, patches = model.vision_model.head, torch.randn(3, 16, 8)
            >>> pool = AttentionPooling.from_transformers(head)
            >>> torch.allclose(pool(patches), head(patches), atol=1e-5)
            True
        """
        # The head of SigLIP 2 is another class with the same parts: it also takes a mask.
        if (
            not isinstance(head, nn.Module)
            or family(head) != "siglip"
            or not hasattr(head, "probe")
        ):
            raise TypeError(
                f"a {type(head).__name__} is not the pooling head of a SigLIP: give "
                "model.vision_model.head of a SiglipModel of transformers"
            )
        check_copyable(head, "head")
        theirs: Any = head
        with torch.device("meta"):  # shapes only: no memory, and no random numbers are drawn
            ours = cls(
                hidden_size=theirs.probe.shape[-1],
                num_attention_heads=theirs.attention.num_heads,
                intermediate_size=theirs.mlp.fc1.out_features,
                hidden_act=theirs.mlp.config.hidden_act,
                layer_norm_eps=theirs.layernorm.eps,
            )
        return copy_weights(ours, theirs)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Pool the patches of each image.

        Args:
            hidden_states: (B, N, D), as they leave the tower, after its last norm.

        Returns:
            (B, D).

        Raises:
            ValueError: ``hidden_states`` has another shape, or holds no patch.
        """
        shape, width = tuple(hidden_states.shape), self.probe.shape[-1]
        if len(shape) != 3 or shape[1] == 0 or shape[2] != width:
            raise ValueError(f"hidden_states has shape {shape}: pass (B, N, {width}), N at least 1")
        collected, _ = self.attention(self.probe, hidden_states)  # (B, 1, D)
        pooled = collected + self.mlp(self.layernorm(collected))
        return pooled[:, 0]  # (B, D)


def sigmoid_loss(
    image_features: Tensor, text_features: Tensor, scale: Tensor | float, bias: Tensor | float
) -> Tensor:
    """Ask of each image and each text whether they belong together: yes or no (Zhai et al. 2023).

    In contrast to ``contrastive_loss``, no question depends on the other answers. There are B yes
    and B (B - 1) no; the sum of their negative log-likelihoods is divided by B.

    Args:
        image_features: (B, P), of unit length.
        text_features: (B, P), of unit length. Text number n belongs to image number n.
        scale: What cosines are multiplied by, one number: ``logit_scale.exp()`` of a checkpoint.
        bias: Added to the product, one number: ``logit_bias``. Training starts at -10, because
            nearly all answers are no.

    Raises:
        ValueError: The features are not (B, P) both, or scale or bias is not one number.

    Example:
        >>> features = torch.eye(4)
        >>> sigmoid_loss(features, features, 20.0, -10.0)  # all answers right and sure
        tensor(0.0002)
        >>> sigmoid_loss(features, features.flip(0), 20.0, -10.0)  # each yes goes to a wrong text
        tensor(20.0002)
    """
    check_pairs(image_features, text_features, scale, bias)
    logits = image_features @ text_features.T * scale + bias  # (B, B)
    answers = 2 * torch.eye(len(logits), device=logits.device) - 1  # 1 for yes, -1 for no
    return -F.logsigmoid(answers * logits).sum() / len(logits)
