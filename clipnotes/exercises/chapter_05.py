"""Checks of chapter 5, the pooled output."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import vision_states, vision_tower
from clipnotes.exercises.marks import exercise, expect, expect_close, expect_not
from clipnotes.exercises.small import small_clip, small_pictures


@exercise("5.1")
def pool(answer: Callable[[Tensor, nn.Module], Tensor]) -> None:
    """Pool the last states as the tower does."""
    model = small_clip()
    tower: Any = vision_tower(model)
    with torch.no_grad():
        states = vision_states(model, small_pictures())
        last = states.last_hidden_state
        result = answer(last, tower.post_layernorm)
        normed = tower.post_layernorm(last)
    expect_not(result, last[:, 0], "The norm is missing: the last states have not seen it.")
    expect_not(result, normed, "That is a vector for every token. One stands for the image.")
    expect_not(result, normed[:, -1], "That is the last patch. The class token stands in front.")
    expect_not(result, normed.mean(1), "That is a mean. CLIP takes one token, as it is.")
    expect_close(result, states.pooler_output, "This is not the tower's pooler_output.")


@exercise("5.2")
def llava_features(answer: Callable[..., Tensor]) -> None:
    """Take the patches' states some layers before the end."""
    model, pixel_values = small_clip(layers=6), small_pictures()
    tower: Any = vision_tower(model)
    with torch.no_grad():
        states = vision_states(model, pixel_values).hidden_states
    calls: tuple[tuple[int, dict[str, int]], ...] = ((2, {}), (1, {"layer": 1}), (3, {"layer": 3}))
    for layer, named in calls:
        result = answer(model, pixel_values, **named)
        where = f"With layer={layer}" if named else "Without a layer, so with 2"
        wanted = states[-layer][:, 1:]
        expect_not(result, states[-layer], f"{where} the class token is among them.")
        expect_not(
            result,
            states[-layer][:, :-1],
            f"{where} the last patch is left out, and the class token is not.",
        )
        expect_not(result, states[layer][:, 1:], f"{where} you count from the front.")
        expect_not(
            result,
            states[-layer - 1][:, 1:],
            f"{where} it is one layer too early: 1 means the last states.",
        )
        if layer > 1:
            expect_not(
                result, states[-1][:, 1:], f"{where} you give the last layer's states all the same."
            )
        expect_not(
            result,
            tower.post_layernorm(wanted),
            f"{where} a norm was applied. `post_layernorm` is for the class token only.",
        )
        expect_close(result, wanted, f"{where} these are not the patches' states.")


@exercise("5.3")
def mean_of_patches(answer: Callable[[Tensor, nn.Module], Tensor]) -> None:
    """Average the patches' last states and normalise the mean."""
    model = small_clip()
    tower: Any = vision_tower(model)
    norm = tower.post_layernorm
    with torch.no_grad():
        last = vision_states(model, small_pictures()).last_hidden_state
        result = answer(last, norm)
        expect_not(result, norm(last.mean(1)), "The class token is in the mean; it is no patch.")
        expect_not(result, last[:, 1:].mean(1), "The norm is missing.")
        expect_not(
            result,
            norm(last[:, 1:]).mean(1),
            "You normalise the patches and take the mean of that. The norm is for the one vector "
            "that stands for the image.",
        )
        expect_close(result, norm(last[:, 1:].mean(1)), "This is not the mean, normalised.")


@exercise("5.4")
def pool_moved(answer: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """Pool with the class token at the end of what the encoder gets."""
    tower: Any = vision_tower(small_clip())
    pixel_values = small_pictures()
    with torch.no_grad():
        raw = tower.embeddings(pixel_values)
        tokens = tower.pre_layrnorm(raw)
        wanted = tower(pixel_values=pixel_values)[1]
        read: list[Tensor] = []
        hook = tower.encoder.layers[0].register_forward_pre_hook(
            lambda _, args, named: read.append(args[0] if args else named["hidden_states"]),
            with_kwargs=True,
        )
        try:
            result = answer(tower, pixel_values)
        finally:
            hook.remove()
        expect(len(read) == 1, f"The encoder is to run once; it ran {len(read)} times.")
        expect_not(
            read[0],
            torch.cat([raw[:, 1:], raw[:, :1]], dim=1),
            "`pre_layrnorm` is missing between the embeddings and the encoder.",
        )
        expect_not(read[0], tokens, "The encoder got the class token in front, as always.")
        expect(
            read[0].shape == tokens.shape,
            f"The encoder got {read[0].shape[1]} tokens, and there are {tokens.shape[1]}: the "
            "class token is to move, with nothing lost and nothing doubled.",
        )
        expect_close(read[0][:, -1], tokens[:, 0], "The last token is not the class token.")
        moved = tower.encoder(inputs_embeds=torch.cat([tokens[:, 1:], tokens[:, :1]], 1))[0]
        expect_not(
            result,
            tower.post_layernorm(moved[:, 0]),
            "You take what stands in front. That is a patch now.",
        )
        expect_not(result, moved[:, -1], "`post_layernorm` is missing.")
    expect_close(
        result, wanted, "This is not the pooled vector of the image, and it should be the same."
    )
