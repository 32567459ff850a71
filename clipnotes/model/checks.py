"""Refuse inputs that the towers cannot take, before any work, and say what is allowed."""

import torch
from torch import Tensor


def check_tokens(
    input_ids: Tensor | None,
    position_ids: Tensor | None,
    inputs_embeds: Tensor | None,
    token_table: Tensor,
    position_table: Tensor,
) -> tuple[int, int]:
    """Check a text against the tables that it is looked up in, and return its B and L."""
    limit, width = position_table.shape
    shape = _text_shape(input_ids, inputs_embeds, width)
    batch_size, length = shape[:2]
    if batch_size == 0 or length == 0:
        raise ValueError(f"the shape {shape} holds no token: pass at least one text of one token")
    if length > limit:
        raise ValueError(
            f"the text has {length} tokens and the model has positions for {limit}: "
            "shorten it, for instance with truncation=True in the tokenizer"
        )
    if input_ids is not None:
        _check_rows("input_ids", input_ids, len(token_table), "the vocabulary")
    if position_ids is not None:
        allowed = [(length,), (1, length), (batch_size, length)]
        _check_shape("position_ids", position_ids, *allowed)
        _check_rows("position_ids", position_ids, limit, "the table of positions")
    return batch_size, length


def _text_shape(
    input_ids: Tensor | None, inputs_embeds: Tensor | None, width: int
) -> tuple[int, ...]:
    """Return the shape of the ids (B, L) or of the vectors (B, L, D), of which one is needed."""
    wanted = f"input_ids of shape (B, L), or inputs_embeds of shape (B, L, {width})"
    if input_ids is not None and inputs_embeds is not None:
        raise ValueError(f"two inputs were given where one is needed: pass {wanted}, not both")
    if inputs_embeds is not None:
        shape = tuple(inputs_embeds.shape)
        if len(shape) != 3 or shape[2] != width:
            raise ValueError(f"inputs_embeds has shape {shape}: pass (B, L, {width})")
        if not inputs_embeds.is_floating_point():
            raise ValueError(f"inputs_embeds has dtype {inputs_embeds.dtype}: pass floating point")
    elif input_ids is not None:
        shape = tuple(input_ids.shape)
        if len(shape) != 2:
            raise ValueError(
                f"input_ids has shape {shape}: pass (B, L); "
                "a single text needs input_ids.unsqueeze(0)"
            )
    else:
        raise ValueError(f"no text was given: pass {wanted}, as a tokenizer makes the ids")
    return shape


def check_mask(attention_mask: Tensor | None, shape: tuple[int, int]) -> None:
    """Check an attention mask, if there is one, against the shape (B, L) of the texts."""
    if attention_mask is None:
        return
    _check_shape("attention_mask", attention_mask, shape)
    wrong = (attention_mask != 0) & (attention_mask != 1)
    if not wrong.is_meta and wrong.any():
        raise ValueError(
            f"attention_mask has the value {attention_mask[wrong][0].item()}: "
            "pass 1 for tokens and 0 for padding"
        )


def check_ends(ends: Tensor | None, shape: tuple[int, int], *, needed: bool) -> None:
    """Check the ends of texts, (B,), against the texts' shape (B, L)."""
    batch_size, length = shape
    if ends is not None:
        _check_shape("eos_positions", ends, (batch_size,))
        _check_rows("eos_positions", ends, length, "a text")
    elif needed:
        raise ValueError(
            "inputs_embeds does not say where a text ends: pass eos_positions of shape "
            f"({batch_size},), for instance eos_positions(input_ids, eos_token_id) of the ids "
            "that the vectors were made from"
        )


def _check_shape(name: str, tensor: Tensor, *allowed: tuple[int, ...]) -> None:
    if tuple(tensor.shape) not in allowed:
        one_of = " or ".join(str(shape) for shape in dict.fromkeys(allowed))
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: pass {one_of}")


def _check_rows(name: str, ids: Tensor, rows: int, what: str) -> None:
    if ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} has dtype {ids.dtype}: pass integers, int64 or int32")
    outside = (ids < 0) | (ids >= rows)
    if not ids.is_meta and outside.any():
        place = tuple(outside.nonzero()[0].tolist())
        raise ValueError(
            f"{name} is {ids[outside][0].item()} at {place}: {what} goes from 0 to {rows - 1}"
        )


def check_positive(**sizes: int) -> None:
    """Check that sizes, given by name, are at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}: it must be at least 1")


def check_heads(hidden_size: int, num_attention_heads: int) -> None:
    """Check that a width can be divided among so many heads."""
    check_positive(hidden_size=hidden_size, num_attention_heads=num_attention_heads)
    if hidden_size % num_attention_heads:
        raise ValueError(
            f"hidden_size {hidden_size} is not a multiple of num_attention_heads "
            f"{num_attention_heads}: every head gets an equal share of the width"
        )


def check_image_batch(
    pixel_values: Tensor | None, channels: int, size: int, patch_size: int, interpolate: bool
) -> Tensor:
    """Check an image batch against the vision tower; other sizes pass only if it interpolates."""
    wanted = f"pixel_values of shape (B, {channels}, {size}, {size})"
    if pixel_values is None:
        raise ValueError(f"no image was given: pass {wanted}, as an image processor makes them")
    if not isinstance(pixel_values, Tensor):
        raise TypeError(
            f"pixel_values is a {type(pixel_values).__name__}: pass {wanted}, "
            "as an image processor makes them"
        )
    shape = tuple(pixel_values.shape)
    if len(shape) != 4:
        raise ValueError(
            f"the shape {shape} has {len(shape)} dimensions: pass {wanted}; "
            "a single image needs pixel_values.unsqueeze(0)"
        )
    if shape[0] == 0:
        raise ValueError(f"the shape {shape} holds no image: pass {wanted}, B at least 1")
    if shape[1] != channels:
        raise ValueError(f"the shape {shape} has {shape[1]} channels: pass {wanted}")
    height, width = shape[2:]
    if not interpolate and (height, width) != (size, size):
        raise ValueError(
            f"the image is {height} x {width} and the model is made for {size} x {size}: "
            "resize it, or pass interpolate_pos_encoding=True"
        )
    if min(height, width) < patch_size:
        raise ValueError(
            f"the image is {height} x {width} and a patch is {patch_size} x {patch_size}: "
            "an image must hold at least one patch"
        )
    return pixel_values


def check_pairs(
    image_features: Tensor, text_features: Tensor, scale: Tensor | float, bias: Tensor | float
) -> None:
    """Check what a loss of pairs is given: B images and their B texts, one scale and one bias."""
    images, texts = tuple(image_features.shape), tuple(text_features.shape)
    if images != texts or len(images) != 2 or images[0] == 0:
        raise ValueError(
            f"the image features have shape {images} and the text features {texts}: pass (B, P) "
            "for both; text number n belongs to image number n"
        )
    for name, number in (("scale", scale), ("bias", bias)):
        if isinstance(number, Tensor) and number.numel() != 1:
            raise ValueError(f"{name} has shape {tuple(number.shape)}: pass one number")
