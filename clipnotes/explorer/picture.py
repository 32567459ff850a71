"""The page about an image: where patches look, and which text each of them resembles."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize, pad

from clipnotes import compat
from clipnotes.checkpoints import Clip
from clipnotes.explorer.page import (
    Page,
    build_page,
    check_clip,
    choose_layers,
    encode,
    in_255ths,
)
from clipnotes.looking import shared_vectors
from clipnotes.model import AttentionPooling


@torch.no_grad()
def explore(
    clip: Clip,
    image: Image.Image | Tensor,
    texts: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
) -> Page:
    """Make a page on which a reader explores the vision tower's attention over one image.

    Point at a patch or at the class token: the page shows where it looks and who looks at it, in
    any layer and head or in the mean over the heads. With texts, it also shows how similar each
    patch is to each text, and which logit the image gets, at every depth. For this the hidden
    states go through ``post_layernorm`` and the projection as if the tower ended there (the "logit
    lens"), in a ViT through its norm, its pooler and the projection. These models were trained to
    do so only with the class token of the last layer; everything else is a way of looking, not an
    output of the model.

    SigLIP has no class token. In its place, the page shows what the pooling head collects from the
    patches, in the last layer as the model itself does, in earlier ones as if the tower ended
    there; and a patch is compared with texts as if the head saw no other.

    Args:
        clip: A CLIP with a square grid of patches, another model with CLIP's vision tower
            (CLIPSeg, MetaCLIP 2, Chinese-CLIP, AltCLIP), a SigLIP, or a VisionTextDualEncoder with
            the vision tower of a CLIP or a ViT.
        image: A PIL image, or its preprocessed ``pixel_values``: (3, S, S) or (1, 3, S, S).
        texts: Strings to compare the image with, or ``None``.
        layers: Numbers of the layers to keep, from 0; ``None`` for all. Fewer make a smaller page.

    Returns:
        The page. A notebook shows it, and ``.save("page.html")`` writes it. The weights on it are
        the model's, rounded to 1/255.

    Raises:
        TypeError: ``clip``, ``image`` or a text is of a type that is not listed above.
        ValueError: The model is in training mode, its vision tower is a DeiT, a tensor has not the
            shape of one image, a layer does not exist, or the page would be larger than 1 MB.

    Example:
        >>> import clipnotes
        >>> from clipnotes.data import load_emoji
        >>> tiger = load_emoji(style="noto", category="animal-mammal")[0]["image"]
        >>> explore(clipnotes.load(), tiger, texts=["a tiger", "a tulip"], layers=[4, 5])
        <Page: Where CLIP looks in an image, ... kB>
    """
    check_clip(clip)
    family, config = compat.family_of(clip.model), clip.model.config.vision_config
    front = family.class_tokens(clip.model)
    if front > 1:
        raise ValueError(
            f"the vision tower of this {family.name} puts {front} tokens in front of its patches, "
            "as DeiT does with its distillation token, and this page has a place for one: give a "
            "model with a CLIP or a ViT. compat.vision_states has the attention of all tokens"
        )
    chosen = choose_layers(layers, config.num_hidden_layers)
    pixel_values = _pixel_values(clip, image)
    size = pixel_values.shape[-1]
    features = None if texts is None else clip.encode_text(texts)  # (n_texts, P)
    states = compat.vision_states(clip.model, pixel_values.to(clip.model.device, clip.model.dtype))
    data: dict[str, Any] = {
        "layers": chosen,
        "grid": size // config.patch_size,
        "patch": config.patch_size / size,  # a share of the side, which may not divide
        "picture": _png(clip, pixel_values[0]),
        "texts": [],
        "reader": "class token" if front else "pooling head",
    }
    if features is not None:
        similarity = text_similarity(clip, states.hidden_states, features)
        data["texts"] = list(texts or [])
        data["similarity"] = encode(similarity)
        data["scale"] = float(clip.model.logit_scale.exp())
        data["bias"] = float(getattr(clip.model, "logit_bias", 0.0))
    attentions = states.attentions if front else with_head(clip, states)
    weights = in_255ths([attentions[layer] for layer in chosen])
    height = 760 if texts is None else 1180
    return build_page("picture", f"Where {family.name} looks in an image", height, weights, data)


def with_head(clip: Clip, states: compat.TowerStates) -> list[Tensor]:
    """Put what SigLIP's pooling head collects in front of each layer's attention.

    Returns:
        n_layers of (1, H, N + 1, N + 1). Row 0 is the head's, behind that layer; column 0 is empty,
        because no patch looks at the head.
    """
    tower = compat.family_of(clip.model).vision_tower(clip.model)
    pool = AttentionPooling.from_transformers(tower.head)
    made = []
    for attention, state in zip(states.attentions, states.hidden_states[1:], strict=True):
        _, collected = pool.attention(pool.probe, tower.post_layernorm(state))  # (1, H, 1, N)
        made.append(pad(torch.cat([collected, attention], dim=2), (1, 0)))  # (1, H, N + 1, N + 1)
    return made


def text_similarity(clip: Clip, hidden_states: Sequence[Tensor], texts: Tensor) -> Tensor:
    """Compare each token at each depth with texts: (n_depths, n_texts, L) cosines, in float32.

    The first one is what the image is read out of: the class token, or SigLIP's pooling head.
    """
    states = torch.cat(list(hidden_states))  # (n_depths, L, D)
    vectors = shared_vectors(clip.model, states)  # (n_depths, L, P)
    family = compat.family_of(clip.model)
    if family.class_tokens(clip.model) == 0:
        pooled = normalize(family.read_out(clip.model, states), dim=-1)  # (n_depths, P)
        vectors = torch.cat([pooled[:, None], vectors], dim=1)  # (n_depths, N + 1, P)
    cosines = vectors @ texts.T  # (n_depths, L, n_texts)
    if not cosines.isfinite().all():
        raise ValueError(
            "the model gave features that are not numbers; its weights or its input hold NaN or "
            "infinity, or are too large for its dtype: try clip.model.float()"
        )
    return cosines.transpose(1, 2).float()


def _pixel_values(clip: Clip, image: Image.Image | Tensor) -> Tensor:
    """Return what the tower takes, (1, 3, size, size), for an image or for its pixel values."""
    size = clip.model.config.vision_config.image_size
    if isinstance(image, Tensor):
        if not image.is_floating_point():
            raise TypeError(
                f"image is a tensor of {image.dtype}; give floating-point pixel_values as "
                "clip.preprocess makes them, or the PIL image itself"
            )
        pixel_values = image.detach()[None] if image.dim() == 3 else image.detach()
    elif isinstance(image, Image.Image):
        pixel_values = clip.preprocess([image])
    else:
        raise TypeError(
            f"image is a {type(image).__name__}; give one PIL image or its pixel_values"
        )
    if compat.kind_of(clip.model).any_size and pixel_values.dim() == 4:
        size = pixel_values.shape[-1]
    if pixel_values.shape != (1, 3, size, size):
        raise ValueError(
            f"the image's pixel_values have the shape {tuple(pixel_values.shape)}; one image "
            f"of this model has (1, 3, {size}, {size}), or (3, {size}, {size})"
        )
    if not pixel_values.isfinite().all():
        raise ValueError("the image's pixel_values hold NaN or infinity; preprocess it again")
    return pixel_values


def _png(clip: Clip, pixel_values: Tensor) -> str:
    """Draw the preprocessed image with its original colours, as a PNG in a data URL."""
    processor, pixels = clip.image_processor, pixel_values.float().cpu()  # (3, S, S)
    if processor.do_normalize:
        mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
        pixels = pixels * std[:, None, None] + mean[:, None, None]
    if processor.do_rescale:
        pixels = pixels / processor.rescale_factor
    colours = pixels.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)  # (S, S, 3)
    file = io.BytesIO()
    Image.fromarray(colours.numpy()).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
