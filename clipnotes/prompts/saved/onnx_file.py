"""A vision tower and a classifier in one ONNX file, checked by the runtime that will run it."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from clipnotes.compat import family_of, image_features
from clipnotes.model import unit_length
from clipnotes.prompts.saved.head import Head, check_same

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
EXTRA = 'pip install "clipnotes-book[export]"'
TORCH = (2, 9)  # the first one whose exporter without TorchScript is the usual one
OPSET = 18
LIMIT = 2**31  # bytes; a protobuf, and so an ONNX file, holds no more
BATCHES = (1, 3)
OUTPUTS = ("logits", "probabilities")


def check_installed() -> None:
    """Raise unless all is there that making and checking an ONNX file needs."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"an export to 'onnx' needs {', '.join(missing)}: {EXTRA}. "
            "An export to 'safetensors' needs nothing more"
        )
    found = tuple(int(part) for part in version("torch").split("+")[0].split(".")[:2])
    if found < TORCH:
        needed = ".".join(map(str, TORCH))
        raise ValueError(
            f"an export to 'onnx' needs torch {needed} or later, and {version('torch')} is "
            f"installed: {EXTRA}. An export to 'safetensors' works with any"
        )


class _Whole(nn.Module):
    """Pixels in, logits and probabilities out."""

    def __init__(self, model: nn.Module, head: Head) -> None:
        super().__init__()
        self.model, self.head = model, head

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        features = unit_length(image_features(self.model, pixel_values))  # (n, P)
        logits = self.head(features)  # (n, n_classes)
        return logits, logits.softmax(dim=-1)


def make(classifier: Any, head: Head) -> tuple[bytes, dict[str, Any]]:
    """Make the file, check it, and say what the card is to say of it."""
    model = classifier.clip.model
    check_size([*family_of(model).vision_weights(model).values(), *head.buffers()])
    config = model.config.vision_config
    shape = (config.num_channels, config.image_size, config.image_size)
    draw = torch.Generator().manual_seed(1)
    batches = [
        torch.randn(n, *shape, generator=draw, device="cpu").to(model.device) for n in BATCHES
    ]
    with classifier.seeing():
        content = _exported(_Whole(model, head).eval(), batches[-1])
    for batch in batches:
        # What the classifier itself says, by its own way and not by the one that was exported.
        own = classifier.takes_pixels
        inputs = classifier.inputs_of(batch) if own else unit_length(image_features(model, batch))
        wanted = classifier.logits(inputs) / classifier.temperature
        found = torch.from_numpy(_run(content, batch)[1])
        check_same(wanted, found, f"the ONNX file, on {len(batch)} images,")
    n_classes = len(classifier.classnames)
    pixels = {"shape": ["batch", *shape], "dtype": "float32"}
    outputs = {name: {"shape": ["batch", n_classes], "dtype": "float32"} for name in OUTPUTS}
    told = {"inputs": {"pixel_values": pixels}, "outputs": outputs, "opset": OPSET}
    return content, told


def check_size(weights: Iterable[Tensor]) -> None:
    """Raise if these weights do not fit into one ONNX file."""
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    if size >= LIMIT:
        raise ValueError(
            f"the vision tower and the classifier have {size / 2**30:.1f} GiB, and one ONNX file "
            f"holds less than {LIMIT // 2**30}: export to 'safetensors', or take a smaller model"
        )


def _exported(module: nn.Module, pixel_values: Tensor) -> bytes:
    with _quiet():
        program = torch.onnx.export(
            module,
            (pixel_values,),
            input_names=["pixel_values"],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    # Each operation tells which lines of which files on this machine it came from: nobody else's
    # business, and a tenth of a small file.
    for graph in (program.model.graph, *(one.graph for one in program.model.functions.values())):
        for node in graph:
            node.metadata_props.clear()
    return bytes(program.model_proto.SerializeToString())


def _run(content: bytes, pixel_values: Tensor) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(list(OUTPUTS), {"pixel_values": pixel_values.cpu().numpy()}))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter says to those who write it."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    try:
        for log in logs:
            log.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
