"""Put a model to all questions, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from clipnotes.probing import image, joint, pooling, text
from clipnotes.probing.copied import check, to_measure
from clipnotes.probing.images import images_for
from clipnotes.probing.report import Probe
from clipnotes.probing.texts import Texts


def probe(model: Any, tokenizer: Any = None) -> Probe:
    """Measure what kind of two-tower model this is, on the model itself and not by its name.

    It runs a copy that shares the weights, on a few short random texts and three random images, in
    eval mode and float32. Nothing about the model that was given changes. Hooks that are on it run
    too, so with vectors injected it is the injected model that is measured.

    Args:
        model: Any model with ``get_text_features`` and ``get_image_features`` (or the same for
            videos or audio), on any device.
        tokenizer: Its tokenizer. It says which tokens end and pad a text, where the model's
            configuration says it differently or not at all.

    Returns:
        The answers. Print them to see a table with how each one was found.

    Raises:
        TypeError: The model has no text tower, or no other one.
        ValueError: Its weights hold no numbers, it is compiled, or it encodes no text.

    Example:
        >>> import clipnotes
        >>> clip = clipnotes.load()
        >>> found = clipnotes.probe(clip.model, clip.tokenizer)
        >>> found.pooled_at, found.reads_out
        ('first end token', '<|endoftext|>')
    """
    method = check(model)
    found = Probe(type(model).__name__)
    device = next(model.parameters()).device
    with _quiet(device):
        copied = to_measure(model)
        texts = Texts(copied, tokenizer)
        images = images_for(copied, method)
        found.fill("pooled_at end_token", lambda: pooling.pool(texts))
        found.fill("reads_out", lambda: pooling.tokenized(texts))
        found.fill("causal eager_equals_sdpa", lambda: text.attends(texts))
        found.fill("padding_matters padding_matters_with_mask", lambda: text.padding(texts))
        found.fill("cut_is_exact", lambda: text.cut(texts))
        found.fill("inputs_embeds", lambda: text.vectors(texts))
        found.fill("text_width text_projection", lambda: pooling.widths(texts))
        found.fill("image_input", lambda: {"image_input": (images.kind, images.how)})
        found.fill(
            "class_token image_pooling image_width image_projection", lambda: image.look(images)
        )
        found.fill("shared_width features_are_unit", lambda: joint.lengths(texts, images))
        found.fill("unit_length scale bias", lambda: joint.compared(texts, images))
        found.fill("loss", lambda: joint.loss(texts, images))
    return found


@contextmanager
def _quiet(device: torch.device) -> Iterator[None]:
    """Compute as nobody set it up otherwise, without transformers' advice about padding."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with (
            torch.inference_mode(False),
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng(devices=[]),
        ):
            yield
    finally:
        logging.set_verbosity(verbosity)
