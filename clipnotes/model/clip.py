"""CLIP in plain PyTorch: two towers, two projections, one scale, one loss.

The reference is ``CLIPModel`` of transformers; parameters carry the names that they have in its
checkpoints. In the shape comments, besides the letters of the towers: B, images and T, texts in
the batch; P, the width of the space that both are projected into (``projection_dim``).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipnotes.compat.carried import check_copyable
from clipnotes.model.copying import copy_weights
from clipnotes.model.text import TextOutput, TextTower
from clipnotes.model.vision import VisionOutput, VisionTower


def unit_length(x: Tensor) -> Tensor:
    """Divide each vector by its length, so that a dot product of two is their cosine.

    Args:
        x: (..., P).

    Example:
        >>> unit_length(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    return x / x.square().sum(dim=-1, keepdim=True).sqrt()


def contrastive_loss(logits: Tensor) -> Tensor:
    """Ask each text for its image among all images, and each image for its text among all texts.

    The mean of two cross-entropies; the right answers are on the diagonal.

    Args:
        logits: (B, B), similarities of B pairs, texts in rows or images in rows.

    Raises:
        ValueError: ``logits`` is empty or not square: then it does not hold pairs.

    Example:
        >>> contrastive_loss(torch.zeros(4, 4))  # knows nothing: log 4
        tensor(1.3863)
        >>> contrastive_loss(100 * torch.eye(4))
        tensor(0.)
    """
    shape = tuple(logits.shape)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"the logits have shape {shape}: pass (B, B), one row and column a pair")
    right = torch.arange(len(logits), device=logits.device)  # (B,)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


class CLIPOutput(NamedTuple):
    """What CLIP returns, fields and order as in transformers.

    Attributes:
        loss: The contrastive loss, or ``None`` unless asked for.
        logits_per_image: (B, T), cosines times ``exp(logit_scale)``.
        logits_per_text: (T, B), the same, transposed.
        text_embeds: (T, P), projected, of unit length.
        image_embeds: (B, P), projected, of unit length.
        text_model_output: What the tower returned; its ``pooler_output`` is *before* projection,
            in contrast to transformers since 5.18 (not to 5.5).
        vision_model_output: What the tower returned, likewise.
    """

    loss: Tensor | None
    logits_per_image: Tensor
    logits_per_text: Tensor
    text_embeds: Tensor
    image_embeds: Tensor
    text_model_output: TextOutput
    vision_model_output: VisionOutput


class CLIP(nn.Module):
    """Texts and images in one space (Radford et al., https://arxiv.org/abs/2103.00020).

    Args:
        text_model: The text tower.
        vision_model: The vision tower; it may have another width.
        projection_dim: The width of the shared space, P.
        logit_scale_init_value: Logarithm of what cosines are multiplied by; the default is that of
            ViT-B/32, log(1 / 0.07).

    Example:
        >>> sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
        >>> clip = CLIP(
        ...     text_model=TextTower(vocab_size=20, hidden_size=6, eos_token_id=19, **sizes),
        ...     vision_model=VisionTower(image_size=8, patch_size=4, hidden_size=10, **sizes),
        ...     projection_dim=5,
        ... )
        >>> ids, pixel_values = torch.tensor([[1, 7, 19], [1, 8, 19]]), torch.randn(3, 3, 8, 8)
        >>> output = clip(ids, pixel_values)
        >>> output.logits_per_image.shape, output.text_embeds.shape
        (torch.Size([3, 2]), torch.Size([2, 5]))
    """

    def __init__(
        self,
        *,
        text_model: TextTower,
        vision_model: VisionTower,
        projection_dim: int = 512,
        logit_scale_init_value: float = 2.6592,
    ) -> None:
        super().__init__()
        self.text_model = text_model
        self.vision_model = vision_model
        text_width = text_model.final_layer_norm.weight.numel()
        vision_width = vision_model.post_layernorm.weight.numel()
        # No bias: the origin stays where it is, and only directions count.
        self.visual_projection = nn.Linear(vision_width, projection_dim, bias=False)
        self.text_projection = nn.Linear(text_width, projection_dim, bias=False)
        # The logarithm is what is learned, so that the factor stays positive.
        self.logit_scale = nn.Parameter(torch.tensor(logit_scale_init_value))

    @classmethod
    def from_transformers(cls, model: nn.Module) -> "CLIP":
        """Build a CLIP with a copy of the weights of a transformers model.

        Args:
            model: ``CLIPModel``, of any supported version, or a model that computes the same:
                ``MetaClip2Model``, ``CLIPSegModel``.

        Returns:
            A CLIP with the same numbers, dtype, device, attention dropout and training or
            evaluation mode. It shares no memory with ``model``.

        Raises:
            TypeError: The model lacks a tower, a projection or the scale, or one of them is
                not as CLIP's, see ``TextTower.from_transformers``.
            ValueError: As there.

        Example:
            >>> from transformers import CLIPConfig, CLIPModel
            >>> small = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2}
            >>> config = CLIPConfig(text_config=small, vision_config=small, projection_dim=6)
            >>> model = CLIPModel(config)
            >>> ids, pixel_values = torch.tensor([[49406, 320, 49407]]), torch.randn(2, 3, 224, 224)
            >>> ours = CLIP.from_transformers(model)(ids, pixel_values).logits_per_image
            >>> theirs = model(ids, pixel_values).logits_per_image
            >>> torch.allclose(ours, theirs, atol=1e-4)
            True
        """
        parts = ("text_model", "vision_model", "text_projection", "visual_projection")
        missing = [name for name in (*parts, "logit_scale") if not hasattr(model, name)]
        if missing:
            raise TypeError(
                f"a {type(model).__name__} has no {', '.join(missing)}: give a CLIPModel of "
                "transformers. For a single tower there are TextTower.from_transformers and "
                "VisionTower.from_transformers."
            )
        theirs: Any = model
        for name in ("text_projection", "visual_projection"):
            check_copyable(getattr(theirs, name), name)
        text_model = TextTower.from_transformers(model)
        vision_model = VisionTower.from_transformers(model)
        with torch.device("meta"):  # shapes only: no memory, and no random numbers are drawn
            ours = cls(
                text_model=text_model,
                vision_model=vision_model,
                projection_dim=theirs.text_projection.out_features,
            )
        return copy_weights(ours, model)

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        eos_positions: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        return_loss: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> CLIPOutput:
        """Compare every text with every image.

        Args:
            input_ids: (T, L), integers.
            pixel_values: (B, 3, height, width), any dtype.
            attention_mask: (T, L), see ``TextTower.forward``.
            position_ids: (T, L), (1, L) or (L,), see ``TextTower.forward``.
            inputs_embeds: (T, L, D), instead of ``input_ids``.
            eos_positions: (T,), needed with ``inputs_embeds``.
            interpolate_pos_encoding: Accept images of another size, see ``VisionEmbeddings``.
            return_loss: Compute the contrastive loss too; text number n belongs to image number n.
            output_hidden_states: Both towers return the states between the layers too.
            output_attentions: Both towers return the attention weights too.

        Raises:
            ValueError: As in the two towers; no image; ``return_loss`` and T is not B.
        """
        texts = (input_ids, attention_mask, position_ids, inputs_embeds, eos_positions)
        n_texts = self.text_model.check(*texts)
        self._check_images(pixel_values, interpolate_pos_encoding, n_texts if return_loss else None)

        wanted = {
            "output_hidden_states": output_hidden_states,
            "output_attentions": output_attentions,
        }
        vision = self.vision_model(
            pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, **wanted
        )
        text = self.text_model(
            input_ids,
            attention_mask,
            position_ids,
            inputs_embeds=inputs_embeds,
            eos_positions=eos_positions,
            **wanted,
        )
        image_embeds = unit_length(self.visual_projection(vision.pooler_output))  # (B, P)
        text_embeds = unit_length(self.text_projection(text.pooler_output))  # (T, P)

        cosines = text_embeds @ image_embeds.T  # (T, B)
        logits_per_text = cosines * self.logit_scale.exp()  # (T, B)
        loss = contrastive_loss(logits_per_text) if return_loss else None
        return CLIPOutput(
            loss, logits_per_text.T, logits_per_text, text_embeds, image_embeds, text, vision
        )

    def _check_images(
        self, pixel_values: Tensor | None, interpolate: bool, n_texts: int | None
    ) -> None:
        n_images = len(self.vision_model.embeddings.check(pixel_values, interpolate))
        if n_texts not in (None, n_images):
            raise ValueError(
                f"return_loss=True with {n_texts} texts and {n_images} images: the loss is about "
                "pairs, pass as many of the one as of the other"
            )
