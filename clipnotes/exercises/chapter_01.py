"""Checks of chapter 1, meet the model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from clipnotes.compat import vision_tower
from clipnotes.data import composite
from clipnotes.exercises.marks import exercise, expect
from clipnotes.exercises.small import small_clip


@exercise("1.1")
def tower_size(answer: Callable[[CLIPVisionConfig, int], int]) -> None:
    """Count a tower's parameters for different patch sizes."""
    config: Any = small_clip().config.vision_config
    sizes = config.to_dict()
    counts = {}
    for patch in (config.patch_size, 2, 6):
        model = CLIPVisionModel(CLIPVisionConfig(**sizes | {"patch_size": patch}))
        counts[patch] = sum(p.numel() for p in model.parameters())
    for patch, wanted in counts.items():
        result = answer(config, patch)
        expect(
            config.patch_size == sizes["patch_size"],
            "Your function changes the configuration that it was given. Whoever gave it may still "
            "need it: make a new one.",
        )
        expect(
            result != counts[config.patch_size] or result == wanted,
            f"For patches of {patch} you count what the tower has with its own patches, of "
            f"{config.patch_size}.",
        )
        expect(
            result == wanted,
            f"Of a tower with patches of {patch} you count {result} parameters. That is off by "
            f"{abs(result - wanted)}.",
        )


class _Shuffled(nn.Module):
    """Calls its children in a different order than it registers them: one twice, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.ears = nn.Identity()
        self.nose = nn.Sequential(nn.Identity())
        self.tail = nn.Identity()
        self.eyes = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.nose(self.eyes(self.nose(self.ears(x))))


@exercise("1.2")
def call_order(answer: Callable[[nn.Module, Callable[[], Any]], list[str]]) -> None:
    """List the order in which a module calls its children."""
    module = _Shuffled()
    runs = []

    def run() -> None:
        runs.append(module(torch.zeros(1)))

    result = answer(module, run)
    expect(runs, "You did not run the module: call `run()`, and see what it calls.")
    expect(
        isinstance(result, (list, tuple)) and all(isinstance(name, str) for name in result),
        "A list of names is wanted: strings.",
    )
    registered = [name for name, _ in module.named_children()]
    expect(
        list(result) != registered,
        "That is the order in which the children were registered, as in the printed tree. In which "
        "are they called?",
    )
    expect(
        all(name in registered for name in result),
        f"{next((n for n in result if n not in registered), '')!r} is no name of a child. Only the "
        "module's own children count, not theirs.",
    )
    expect("tail" not in result, "One of these children is never called.")
    called = ["ears", "nose", "eyes", "nose"]
    expect(
        list(result) != list(dict.fromkeys(called)),
        "A child may be called more than once. Each call counts.",
    )
    expect(list(result) == called, "That is not the order in which this module calls its children.")
    expect(
        not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules()),
        "Your hooks are still there, and will listen as long as the model lives: remove them.",
    )


@exercise("1.3")
def on_white(answer: Callable[[Image.Image], Image.Image]) -> None:
    """Lay an image with partly transparent pixels on white."""
    numbers = torch.randint(0, 256, (6, 6, 4), dtype=torch.uint8)
    numbers[0, :, 3], numbers[1, :, 3] = 0, 255
    image = Image.frombytes("RGBA", (6, 6), numbers.numpy().tobytes())
    result = answer(image)
    expect(
        isinstance(result, Image.Image) and result.mode == "RGB" and result.size == image.size,
        f"A PIL image of mode RGB and size {image.size} is wanted.",
    )

    def same(one: Image.Image) -> bool:
        difference = np.asarray(result).astype(int) - np.asarray(one).astype(int)
        return bool(abs(difference).max() <= 2)  # programs round differently

    expect(
        not same(image.convert("RGB")),
        "You dropped the transparency. What shows now is the colour that lay under it.",
    )
    expect(not same(composite(image, "black")), "That is the image on black.")
    hard = image.copy()
    hard.putalpha(image.getchannel("A").point(lambda a: 255 if a > 127 else 0))
    expect(
        not same(composite(hard)),
        "A pixel can be half transparent; you let each be there or not there.",
    )
    expect(same(composite(image)), "That is not the image laid on white.")


class _Holder(nn.Module):
    """Holds a tower as ``vision_model``, as some versions nest it."""

    def __init__(self, vision_model: nn.Module) -> None:
        super().__init__()
        self.vision_model = vision_model


@exercise("1.4")
def find_tower(answer: Callable[[nn.Module], nn.Module]) -> None:
    """Find the module with the four parts, however a version nests it."""
    model: Any = small_clip()
    tower = vision_tower(model)
    layouts = {
        "CLIPModel": model,
        "CLIPVisionModel of this version": CLIPVisionModel(model.config.vision_config),
        "model that holds the tower directly, as CLIPVisionModel does in 4.49": _Holder(tower),
        "model that holds it two levels down": _Holder(_Holder(tower)),
        "tower itself": tower,
    }
    for kind, layout in layouts.items():
        result = answer(layout)
        wanted = vision_tower(layout)
        parts = ("embeddings", "pre_layrnorm", "encoder", "post_layernorm")
        expect(
            all(hasattr(result, part) for part in parts),
            f"Given a {kind}, you return a {type(result).__name__} that does not itself hold the "
            "four parts.",
        )
        expect(
            result is wanted,
            f"Given a {kind}, you return a module that is not the model's own: a copy does not "
            "change when the model does.",
        )
