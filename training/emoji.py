"""The data set as tensors, with the drawings that train and the drawings that validate."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

PARQUET = Path(__file__).parent.parent / "clipnotes" / "emoji" / "emoji.parquet"
NEVER_TRAINED = ("openmoji", "twemoji")  # a far and a near domain for the book's experiments
VALIDATION_SHARE = 25  # one drawing in so many of the trained designers is kept aside

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def normalize(pixels: Tensor) -> Tensor:
    """Scale pixels (..., 3, H, W) from [0, 1] by OpenAI CLIP's mean and standard deviation."""
    return (pixels - MEAN.to(pixels.device)) / STD.to(pixels.device)


@dataclass
class EmojiPictures:
    """The rows of the data set with their drawings, and which of them train and validate."""

    rows: list[dict]
    rgba: Tensor  # (n, 4, 64, 64) uint8
    concept: Tensor  # (n,) number of the concept
    category: Tensor  # (n,) number of the category
    names: list[str]  # every concept's name
    train: list[int]
    validation: list[int]


def kept_aside(row: dict) -> bool:
    """Tell by a hash of designer and code point whether a drawing is for validation."""
    digest = hashlib.sha256(f"{row['style']} {row['codepoint']}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % VALIDATION_SHARE == 0


def split(rows: list[dict], leave_out: str | None) -> tuple[list[int], list[int]]:
    """Return the numbers of the rows that train, and of those that validate."""
    train, validation = [], []
    for i, row in enumerate(rows):
        if not row["held_out"] and row["style"] not in NEVER_TRAINED:
            aside = row["style"] == leave_out if leave_out else kept_aside(row)
            (validation if aside else train).append(i)
    return train, validation


def load_pictures(leave_out: str | None = None) -> EmojiPictures:
    """Decode all drawings; those of `leave_out`, if given, validate and do not train."""
    rows = pq.read_table(PARQUET).to_pylist()
    decoded = [
        np.asarray(Image.open(io.BytesIO(r.pop("image")["bytes"])).convert("RGBA")) for r in rows
    ]
    codepoints = sorted({r["codepoint"] for r in rows})
    categories = sorted({r["category"] for r in rows})
    train, validation = split(rows, leave_out)
    return EmojiPictures(
        rows=rows,
        rgba=torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous(),
        concept=torch.tensor([codepoints.index(r["codepoint"]) for r in rows]),
        category=torch.tensor([categories.index(r["category"]) for r in rows]),
        names=list(dict.fromkeys(r["name"] for r in rows)),
        train=train,
        validation=validation,
    )
