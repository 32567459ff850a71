"""Which model something was learned with: its weights, its settings, and what it computes.

A digest of the weights is exact, and says too little and too much. With another activation, or with
LoRA's alpha changed, the same weights compute something else; with an adapter merged into them,
others compute the same. So a card also holds a probe: some numbers of the features of one text and
of one image, which are made by counting and mean nothing.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import family_of, image_features, text_features
from clipnotes.compat.compiled import how_compiled
from clipnotes.compat.weights import plain, token_table
from clipnotes.prompts.layout import token_ids

# What the arithmetic depends on beside the weights, under the names of a configuration.
SETTINGS = ("hidden_act", "num_attention_heads", "layer_norm_eps")
LENGTH = 16  # tokens of the probe's text
KEPT = 32  # numbers of its features
# Texts that two tokenizers cut alike only if they fold, split and merge alike.
SENTENCES = ("a photo of a cat.", "A Photo, 12 of 2024: the naïve café's x (bird of prey)!")


def text_tower_digest(model: nn.Module) -> str:
    """SHA-256 of the text tower's weights and its projection, by name and value."""
    return _digest(family_of(model).text_weights(model))


def vision_tower_digest(model: nn.Module) -> str:
    """SHA-256 of the vision tower's weights and its projection, by name and value."""
    return _digest(family_of(model).vision_weights(model))


def tables_digest(model: nn.Module, kind: str) -> str:
    """SHA-256 of what is in front of a tower's layers, of which a probe sees little."""
    family = family_of(model)
    find = family.text_embeddings if kind == "text" else family.vision_embeddings
    return _digest(dict(find(model).named_parameters()))


def _digest(weights: Mapping[str, Tensor]) -> str:
    # Equal in every version of transformers, on every device, in every dtype that holds the values,
    # and compiled: names count from the tower on, values count as float32.
    total = hashlib.sha256()
    for name, weight in sorted((k.replace("_orig_mod.", ""), v) for k, v in weights.items()):
        total.update(f"{name} {tuple(weight.shape)}\0".encode())
        total.update(plain(weight).numpy().astype("<f4", copy=False).data)
    return total.hexdigest()


def settings(tower: Any) -> dict[str, Any]:
    """Read from its configuration what a tower's arithmetic depends on, as JSON can hold it."""
    return {name: getattr(tower.config, name, None) for name in SETTINGS}


def tokens_digest(tokenizer: Any, classnames: Sequence[str]) -> str:
    """SHA-256 of the tokens that a tokenizer makes of these names and of fixed sentences."""
    ids = token_ids(tokenizer, [*SENTENCES, *classnames])
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def probe(model: nn.Module, kind: str) -> list[float]:
    """Compute some numbers of the features of one fixed text or image, by a tower's kind."""
    with as_in_use(model, next(tower_of(model, kind).parameters()).device):
        features = _text_features(model) if kind == "text" else _image_features(model)
    if not bool(features.isfinite().all()):
        raise ValueError("the features of this model are not finite, so nothing fits it")
    # Seven digits are what float32 has.
    return [float(f"{number:.7g}") for number in features.flatten()[:KEPT].double().tolist()]


def tower_of(model: nn.Module, kind: str) -> Any:
    """Find the "text" or the "vision" tower of a model."""
    family = family_of(model)
    return family.text_tower(model) if kind == "text" else family.vision_tower(model)


def dtype_of(model: nn.Module) -> str:
    """Name the dtype that a model computes texts in, as in "float32"."""
    return str(token_table(model).weight.dtype).removeprefix("torch.")


def _text_features(model: nn.Module) -> Tensor:
    family, table = family_of(model), token_table(model)
    limit = family.n_positions(model)
    # A model that reads at the last place of all takes only texts that are filled up to there.
    length = limit if family.reads(model) == "last" else min(LENGTH, limit)
    counted = [[i * table.num_embeddings // length for i in range(length)]]
    input_ids = torch.tensor(counted, device="cpu").to(table.weight.device)
    last = torch.tensor([length - 1], device="cpu")  # the ids hold no end that could be found
    return text_features(model, input_ids, ends=last)


def _image_features(model: nn.Module) -> Tensor:
    tower: Any = tower_of(model, "vision")
    weight = next(family_of(model).vision_embeddings(model).parameters())
    shape = (1, tower.config.num_channels, tower.config.image_size, tower.config.image_size)
    counted = torch.arange(math.prod(shape), dtype=torch.float64, device="cpu")
    pixel_values = counted.pow(1.1).sin().view(shape)  # no two patches alike
    return image_features(model, pixel_values.to(weight))


@contextmanager
def as_in_use(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Run a model without dropout, lower precision and a compiler that begins for one text."""
    modules = list(model.modules())
    before = [module.training for module in modules]
    with ExitStack() as stack:
        for module, training in zip(modules, before, strict=True):
            stack.callback(setattr, module, "training", training)
            module.training = False
        if hasattr(torch.compiler, "set_stance") and any(map(how_compiled, modules)):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(torch.no_grad())
        yield


def distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How far apart two probes are, relative to the second; of two lengths, infinitely."""
    if len(ours) != len(theirs):
        return float("inf")
    if list(ours) == list(theirs):  # also if all are 0
        return 0.0
    a, b = torch.tensor([ours, theirs], dtype=torch.float64)
    return float((a - b).norm() / b.norm())
