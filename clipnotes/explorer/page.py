"""Build a self-contained page: what the explorers of an image and of a text share.

Script, style, image and numbers are all inside the page. A content security policy makes the
browser refuse any request that the page might still make.
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
        title: What the page is about.
        height: Its height in a notebook, in pixels, until its script runs and sets the real one.

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
            ValueError: The name does not end in ``.html`` or ``.htm``.
            OSError: The folder does not exist, or the system refuses to write. An older file of
                that name stays as it was.
        """
        file = Path(path).expanduser()
        if file.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"{file} does not end in .html, so no browser would open it as a page")
        if not file.absolute().parent.is_dir():
            raise FileNotFoundError(f"there is no folder {file.parent}: make it first")
        write_atomically(file, self.html.encode())
        return file

    def _repr_html_(self) -> str:
        # A frame keeps the style of the page and the style of the notebook apart.
        return (
            f'<iframe class="clipnotes-explorer" title="{escape(self.title)}" '
            f'srcdoc="{escape(self.html)}" width="100%" height="{self.height}" '
            f'style="border: 0; display: block; width: 100%; height: {self.height}px"></iframe>'
        )

    def __repr__(self) -> str:
        return f"<Page: {self.title}, {len(self.html.encode()) // 1000} kB>"


def check_clip(clip: Clip) -> None:
    """Refuse anything but a ``Clip`` in evaluation mode, before anything runs."""
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
    """Check which layers a page should hold, and sort them; ``None`` means all of them."""
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
    """Round the weights of n layers to 8 bits, off by 1/510 at most: (n, H, L, L) uint8."""
    weights = torch.cat(list(attentions)).float()
    if not weights.isfinite().all():
        raise ValueError(
            "the model gave attention weights that are not numbers; its weights or its input hold "
            "NaN or infinity, or are too large for its dtype: try clip.model.float()"
        )
    return (weights * 255).round().to(torch.uint8).cpu()


def encode(numbers: Tensor) -> str:
    """Write uint8 or float32 numbers as base64, little-endian, for the page's script."""
    array = numbers.detach().contiguous().cpu().numpy()
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode("ascii")


def build_page(
    kind: str, title: str, height: int, weights: Tensor, data: dict[str, Any], extra: str = ""
) -> Page:
    """Put a page together from the template, the style and the script of its kind.

    ``kind`` is the stem of the script that draws it, ``"picture"`` or ``"text"``. The script also
    reads ``data``, where ``layers`` are the numbers of the layers in ``weights``; ``extra`` is HTML
    for the end of the page. A page over 1 MB is refused, with advice on what to leave out.
    """
    folder = files("clipnotes.explorer")
    parts = {name: (folder / name).read_text("utf-8") for name in (*_FILES, f"{kind}.js")}
    everything = {**data, "heads": weights.shape[1], "weights": encode(weights)}
    html = Template(parts["page.html"]).substitute(
        kind=kind,
        title=escape(title),
        style=parts["explorer.css"],
        # A "</script>" in somebody's text must not end the element that the data is in.
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
    message = (
        f"the page would have {size / 1e6:.2f} MB, and at most {LIMIT / 1e6:.0f} MB is allowed: "
        f"{n_layers} layers of {n_heads} heads over {n_tokens} tokens take {of_weights / 1e6:.2f} "
        f"MB, {of_weights / n_layers / 1e6:.2f} MB each. "
    )
    n_fit = int((LIMIT - (size - of_weights)) * n_layers / of_weights)
    if n_fit < 1:
        return message + "Not even one layer fits: take a model with fewer tokens, or fewer texts."
    return message + f"Choose at most {n_fit} of the layers, for instance layers={layers[-n_fit:]}"
