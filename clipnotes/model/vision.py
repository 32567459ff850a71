"""CLIP's vision tower in plain PyTorch: pixels to tokens, an encoder, one vector an image.

The reference is ``CLIPVisionModel`` of transformers; parameters carry the names that they have in
its checkpoints. In the shape comments, besides the letters of ``encoder.py``:
N, patches in one image; L = N + 1, tokens: the patches and the class token.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipnotes.compat import vision_tower
from clipnotes.compat.carried import VISION, check_copyable
from clipnotes.model.checks import check_image_batch, check_positive
from clipnotes.model.copying import copy_tower
from clipnotes.model.encoder import AttentionPath, Encoder

# What the arithmetic depends on, under the names of a CLIPVisionConfig.
_CONFIG_NAMES = (
    "image_size",
    "patch_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "num_channels",
    "hidden_act",
    "layer_norm_eps",
    "attention_dropout",
)


class VisionEmbeddings(nn.Module):
    """Turn an image into tokens (ViT, Dosovitskiy et al., https://arxiv.org/abs/2010.11929).

    Args:
        image_size: Height and width that the table of positions is made for.
        patch_size: Height and width of a patch. Pixels past the last whole one are left out.
        hidden_size: The width, D.
        num_channels: How many colours a pixel has, C.

    Raises:
        ValueError: ``image_size`` is less than ``patch_size``.

    Example:
        >>> embed = VisionEmbeddings(image_size=8, patch_size=4, hidden_size=6)
        >>> embed(torch.randn(1, 3, 8, 8)).shape
        torch.Size([1, 5, 6])
        >>> embed(torch.randn(1, 3, 8, 12), interpolate_pos_encoding=True).shape
        torch.Size([1, 7, 6])
    """

    position_ids: Tensor

    def __init__(
        self, *, image_size: int, patch_size: int, hidden_size: int, num_channels: int = 3
    ) -> None:
        check_positive(patch_size=patch_size, hidden_size=hidden_size, num_channels=num_channels)
        if image_size < patch_size:
            raise ValueError(f"image_size {image_size} is less than patch_size {patch_size}")
        super().__init__()
        self.image_size = image_size
        self.patch_size = patch_size
        self.grid_size = image_size // patch_size  # patches along one side
        num_positions = self.grid_size**2 + 1
        self.class_embedding = nn.Parameter(torch.randn(hidden_size) * hidden_size**-0.5)
        # A stride as long as the kernel: each patch is seen once, by one matrix product. No bias,
        # because the positions add one anyway.
        self.patch_embedding = nn.Conv2d(
            num_channels, hidden_size, kernel_size=patch_size, stride=patch_size, bias=False
        )
        self.position_embedding = nn.Embedding(num_positions, hidden_size)
        # Not a weight, so it is not saved; a buffer, so it moves to the device with the rest.
        self.register_buffer(
            "position_ids", torch.arange(num_positions).unsqueeze(0), persistent=False
        )

    def forward(
        self,
        pixel_values: Tensor | None = None,
        *,
        interpolate_pos_encoding: bool = False,
    ) -> Tensor:
        """Map pixels to tokens.

        Args:
            pixel_values: (B, 3, height, width), any dtype; it is cast to that of the weights.
            interpolate_pos_encoding: Accept other sizes than ``image_size``, also
                non-square ones, and stretch the table of positions over them.

        Returns:
            (B, L, D): the class token first, then the patches row by row.

        Raises:
            TypeError: ``pixel_values`` is no tensor.
            ValueError: ``pixel_values`` is missing, holds no image, has another number of
                dimensions or channels, another size without ``interpolate_pos_encoding``, or is
                smaller than a patch.
        """
        pixel_values = self.check(pixel_values, interpolate_pos_encoding)
        batch_size, _, height, width = pixel_values.shape

        # The processor gives float32; a model in half precision needs its own dtype.
        pixel_values = pixel_values.to(self.patch_embedding.weight.dtype)
        patches = self.patch_embedding(pixel_values)  # (B, D, rows, columns)
        patches = patches.flatten(2).transpose(1, 2)  # (B, N, D)

        class_token = self.class_embedding.expand(batch_size, 1, -1)  # (B, 1, D), no copy
        tokens = torch.cat([class_token, patches], dim=1)  # (B, L, D)

        if interpolate_pos_encoding:
            return tokens + self.interpolate_pos_encoding(height, width)
        return tokens + self.position_embedding(self.position_ids)

    def interpolate_pos_encoding(self, height: int, width: int) -> Tensor:
        """Stretch the learned positions over an image of another size, bicubically.

        Args:
            height: Height of the image in pixels.
            width: Width of the image in pixels.

        Returns:
            (1, L, D) for the L of that image.
        """
        rows, columns = height // self.patch_size, width // self.patch_size
        if rows == columns == self.grid_size:
            return self.position_embedding(self.position_ids)  # (1, L, D)

        table = self.position_embedding.weight
        class_position, patch_positions = table[:1], table[1:]  # the class token has no place

        # Channels first, as `interpolate` wants an image.
        grid = patch_positions.unflatten(0, (self.grid_size, self.grid_size))  # (rows, columns, D)
        grid = grid.permute(2, 0, 1).unsqueeze(0)  # (1, D, rows, columns)
        grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
        patch_positions = grid.flatten(2).transpose(1, 2)  # (1, N, D)
        return torch.cat([class_position.unsqueeze(0), patch_positions], dim=1)  # (1, L, D)

    def check(self, pixel_values: Tensor | None, interpolate: bool) -> Tensor:
        """Raise what ``forward`` would raise for these pixels; give them back if it would not."""
        channels = self.patch_embedding.in_channels
        return check_image_batch(
            pixel_values, channels, self.image_size, self.patch_size, interpolate
        )


class VisionOutput(NamedTuple):
    """What the vision tower returns; the tuples are ``None`` unless asked for.

    Attributes:
        last_hidden_state: (B, L, D), the output of the last layer. No norm is applied to it.
        pooler_output: (B, D), the class token of the last layer after ``post_layernorm``.
        hidden_states: n_layers + 1 of (B, L, D): what went into the encoder, then what each layer
            made of it.
        attentions: n_layers of (B, H, L, L).
    """

    last_hidden_state: Tensor
    pooler_output: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None


class VisionTower(nn.Module):
    """CLIP's image encoder up to the pooled vector (https://arxiv.org/abs/2103.00020).

    The defaults are those of ViT-B/32.

    Args:
        image_size: Height and width of the images, in pixels.
        patch_size: Height and width of a patch, in pixels.
        hidden_size: The width, D.
        num_hidden_layers: Layers of the encoder.
        num_attention_heads: Heads that D is divided among.
        intermediate_size: Width inside the MLPs.
        num_channels: Colour channels.
        hidden_act: ``"quick_gelu"``, ``"gelu"`` or ``"gelu_pytorch_tanh"``.
        layer_norm_eps: Added to the variance in all norms.
        attention_dropout: Share of attention weights set to zero in training mode.
        attention: ``"sdpa"`` or ``"written_out"``, see ``Attention``.

    Raises:
        ValueError: The numbers do not fit each other, or a name is unknown.

    Example:
        >>> tower = VisionTower(image_size=8, patch_size=4, hidden_size=6, num_hidden_layers=2,
        ...                     num_attention_heads=2, intermediate_size=12)
        >>> output = tower(torch.randn(3, 3, 8, 8), output_attentions=True)
        >>> output.pooler_output.shape, output.attentions[0].shape
        (torch.Size([3, 6]), torch.Size([3, 2, 5, 5]))
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 32,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        num_channels: int = 3,
        hidden_act: str = "quick_gelu",
        layer_norm_eps: float = 1e-5,
        attention_dropout: float = 0.0,
        attention: AttentionPath = "sdpa",
    ) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(
            image_size=image_size,
            patch_size=patch_size,
            hidden_size=hidden_size,
            num_channels=num_channels,
        )
        self.pre_layrnorm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)  # spelled as in the files
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
        self.post_layernorm = nn.LayerNorm(hidden_size, eps=layer_norm_eps)

    @classmethod
    def from_transformers(cls, model: nn.Module) -> "VisionTower":
        """Build a tower with a copy of the weights of a transformers model.

        Args:
            model: ``CLIPModel``, ``CLIPVisionModel``, ``CLIPVisionModelWithProjection`` or the
                tower inside one, of any supported version. Or a model with the same vision tower:
                of MetaCLIP 2, CLIPSeg, Chinese-CLIP, AltCLIP.

        Returns:
            A tower with the same numbers, dtype, device, attention dropout and training or
            evaluation mode. It shares no memory with ``model``.

        Raises:
            TypeError: The model has no CLIP vision tower, one of a family that computes otherwise,
                or one in which parts were replaced, as PEFT does.
            ValueError: The model's activation is none of those that ``MLP`` has; its weights
                are offloaded.

        Example:
            >>> from transformers import CLIPVisionConfig, CLIPVisionModel
            >>> config = CLIPVisionConfig(hidden_size=8, num_attention_heads=2, image_size=8,
            ...                           patch_size=4, num_hidden_layers=2)
            >>> model = CLIPVisionModel(config)
            >>> tower = VisionTower.from_transformers(model)
            >>> pixel_values = torch.randn(1, 3, 8, 8)
            >>> theirs = model(pixel_values).pooler_output
            >>> torch.allclose(tower(pixel_values).pooler_output, theirs, atol=1e-5)
            True
        """
        tower = vision_tower(model)
        check_copyable(tower, "vision tower", VISION)
        return copy_tower(cls, tower, _CONFIG_NAMES)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        *,
        interpolate_pos_encoding: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> VisionOutput:
        """Encode a batch of images.

        Args:
            pixel_values: (B, 3, height, width), any dtype; it is cast to that of the weights.
            interpolate_pos_encoding: Accept images of another size, see ``VisionEmbeddings``.
            output_hidden_states: Return the states between the layers too.
            output_attentions: Return the attention weights too, on the written-out path.

        Raises:
            TypeError, ValueError: As in ``VisionEmbeddings.forward``.
        """
        tokens = self.embeddings(
            pixel_values,
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        tokens = self.pre_layrnorm(tokens)  # (B, L, D)
        last_hidden_state, hidden_states, attentions = self.encoder(
            tokens,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        # Only the class token is normalised: the patches leave the tower as the last
        # layer made them, and whoever takes them must know that.
        pooler_output = self.post_layernorm(last_hidden_state[:, 0])  # (B, D)
        return VisionOutput(last_hidden_state, pooler_output, hidden_states, attentions)
