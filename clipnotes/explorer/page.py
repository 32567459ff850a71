"""One self-contained page: what the explorers of a picture and of a text share.

Script, style, picture and numbers all stand in the page, and a content security policy makes the
browser refuse any request that it might still want to make.
"""

from __future__ import annotations

import base64
import json
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import torch
from torch import Tensor

from clipnotes.checkpoints import Clip
from clipnotes.files import write_atomically

LIMIT = 1_000_000  # bytes of a page
_FILES = ("page.html", "explorer.css", "explorer.js")


@dataclass(frozen=True, repr=False)
class Page:
    """A page that a notebook shows, and a browser opens once it is saved.

    Attributes:
        html: The whole page, under 1 MB.
        title: What it is about.
        height: Pixels that a notebook gives it until it runs and takes what it needs.

    Example:
        >>> page = Page("<!doctype html><title>A page</title>", "A page", height=400)
        >>> page
        <Page: A page, 0 kB>
        >>> page._repr_html_()[:37]
        '<iframe class="clipnotes-explorer" ti'
    """

    html: str
    title: str
    height: int

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page as a file, whole or not at all.

        Args:
            path: A file name that ends in ``.html``, in a folder that exists.

        Returns:
            The file.

        Raises:
            ValueError: Another ending.
            OSError: No such folder, or the system refuses. An older file is then as it was.
        """
        file = Path(path).expanduser()
        if file.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{file} does not end in .html, so no browser would open it as a page")
        if not file.absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {file.parent}: make it first")
        write_atomically(file, self.html.encode())
        return file

    def _repr_html_(self) -> str:
        # In a frame of its own, neither the page's style nor the notebook's leaks into the other.
        return (
            f'<iframe class="clipnotes-explorer" title="{escape(self.title)}" '
            f'srcdoc="{escape(self.html)}" width="100%" height="{self.height}" '
            f'style="border: 0; display: block; width: 100%; height: {self.height}px"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<Page: {self.title}, {len(self.html.encode()) // 1000} kB>"


def check_clip(clip: Clip) -> None:
    """Refuse what cannot be explored, before anything runs.

    Args:
        clip: What the caller gave.

    Raises:
        TypeError: It is no ``Clip``.
        ValueError: It is in training mode.
    """
    if not isinstance(clip, Clip):
        raise TypeError(
            f"clip is a {type(clip).__name__}; give a Clip: clipnotes.load(), or "
            "clipnotes.Clip(model, tokenizer, image_processor) around a CLIPModel"
        )
    if any(module.training for module in clip.model.modules()):
        raise ValueError(
            "the model is in training mode, where dropout would change the weights that the page "
            "shows; call clip.model.eval() first"
        )


def choose_layers(layers: Sequence[int] | None, n_layers: int) -> list[int]:
    """Say which layers a page holds.

    Args:
        layers: Their numbers, from 0; ``None`` for all.
        n_layers: How many the tower has.

    Returns:
        The numbers in order.

    Raises:
        TypeError: Not a list of whole numbers.
        ValueError: None, one twice, or one that the tower does not have.

    Example:
        >>> choose_layers(None, 3), choose_layers([2, 0], 3)
        ([0, 1, 2], [0, 2])
    """
    if layers is None:
        return list(range(n_layers))
    try:
        chosen = sorted(operator.index(layer) for layer in layers)
    except TypeError:
        raise TypeError(f"layers is {layers!r}; give a list of whole numbers, or None") from None
    known = all(0 <= layer < n_layers for layer in chosen)
    if not chosen or not known or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"layers is {layers!r}; give at least one number from 0 to {n_layers - 1}, none twice"
        )
    return chosen


def in_255ths(attentions: Sequence[Tensor]) -> Tensor:
    """Round attention weights to 8 bits, so that each is off by at most 1/510.

    Args:
        attentions: n layers of (1, n_heads, N, N), each weight from 0 to 1.

    Returns:
        (n, n_heads, N, N) uint8.

    Raises:
        ValueError: A weight is not a number.

    Example:
        >>> in_255ths([torch.tensor([[[[1.0, 0.0], [0.5, 0.25]]]])]).flatten().tolist()
        [255, 0, 128, 64]
    """
    weights = torch.cat(list(attentions)).float()
    if not weights.isfinite().all():
        raise ValueError(
            "the model gave attention weights that are not numbers; its weights or its input hold "
            "NaN or infinity, or are too large for its dtype: try clip.model.float()"
        )
    return (weights * 255).round().to(torch.uint8).cpu()


def encode(numbers: Tensor) -> str:
    """Write uint8 or float32 numbers as base64, little-endian, for the page's script.

    Args:
        numbers: Any shape; the last dimension runs fastest.

    Example:
        >>> encode(torch.tensor([0, 255], dtype=torch.uint8))
        'AP8='
    """
    array = numbers.detach().contiguous().cpu().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def build_page(
    kind: str, title: str, height: int, weights: Tensor, data: dict[str, Any], extra: str = ""
) -> Page:
    """Put a page together from the template, the style and the script of its kind.

    Args:
        kind: ``"picture"`` or ``"text"``, the stem of the script that draws it.
        title: What it is about.
        height: As in ``Page``.
        weights: (n_layers, n_heads, N, N) uint8, from ``in_255ths``.
        data: What else the script reads; ``layers`` are the numbers of the layers in ``weights``.
        extra: HTML at the end of the page.

    Raises:
        ValueError: The page would be larger than 1 MB. The message says what to leave out.
    """
    folder = files("clipnotes.explorer")
    parts = {name: (folder / name).read_text("utf-8") for name in (*_FILES, f"{kind}.js")}
    everything = {**data, "heads": weights.shape[1], "weights": encode(weights)}
    html = Template(parts["page.html"]).substitute(
        kind=kind,
        title=escape(title),
        style=parts["explorer.css"],
        # Nothing in a text may end the element that the text stands in.
        data=json.dumps(everything, allow_nan=False).replace("<", "\\u003c"),
        script=parts["explorer.js"] + parts[f"{kind}.js"],
        extra=extra,
    )
    size = len(html.encode())
    if size > LIMIT:
        raise ValueError(_too_large(size, len(everything["weights"]), data["layers"], weights))
    return Page(html, title, height)


def _too_large(size: int, of_weights: int, layers: list[int], weights: Tensor) -> str:
    n_layers, n_heads, n_tokens, _ = weights.shape
    said = (
        f"the page would have {size / 1e6:.2f} MB, and at most {LIMIT / 1e6:.0f} MB is allowed: "
        f"{n_layers} layers of {n_heads} heads over {n_tokens} tokens take {of_weights / 1e6:.2f} "
        f"MB, {of_weights / n_layers / 1e6:.2f} MB each. "
    )
    fit = int((LIMIT - (size - of_weights)) * n_layers / of_weights)
    if fit < 1:
        return said + "Not even one layer fits: take a model with fewer tokens, or fewer texts."
    return said + f"Choose at most {fit} of the layers, for instance layers={layers[-fit:]}"
