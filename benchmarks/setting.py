"""What all benchmarks share: two text towers, class names, three ways to encode, and one step.

A step is what a prompt costs in each step of its training: encode all classes, and compute the
gradient of the context. Three ways give the same numbers:

- "fast" is what ``PromptLearner`` does by default.
- "cut" runs the model's own tower, with all prompts as long as the longest.
- "reference" does the same with all prompts padded to the tower's limit, as CoOp's program does.
"""

from __future__ import annotations

import copy
import os
import platform
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import clipnotes
from clipnotes.checkpoints import EMOJI_CLIP
from clipnotes.classnames import token_ids
from clipnotes.compat import text_projection, text_tower
from clipnotes.data import load_emoji
from clipnotes.prompts.encode import encode
from clipnotes.prompts.layout import Layout
from clipnotes.prompts.substitute import random_ctx

THREADS = 2
TOWERS = ("Emoji-CLIP", "ViT-B/32")
WAYS = ("fast", "cut", "reference")


@dataclass(frozen=True)
class Setting:
    """Prompts for a tower, and a context to start from."""

    model: nn.Module
    layout: Layout
    ctx: Tensor  # (n_ctx, D), requires a gradient

    @property
    def limit(self) -> int:
        """The length of the longest text that the tower takes, in tokens."""
        embeddings: Any = text_tower(self.model).embeddings
        return embeddings.position_embedding.num_embeddings

    def to(self, device: torch.device, dtype: torch.dtype) -> Setting:
        """Copy the setting to a device, with the model in this dtype and the context in float32."""
        model = copy.deepcopy(self.model).to(device, dtype)
        return replace(self, model=model, ctx=self.ctx.detach().to(device).requires_grad_(True))

    def way(self, name: str) -> Callable[[], Tensor]:
        """Make a function that encodes all classes in this way: (n_classes, P)."""
        layout = pad(self.layout, self.limit) if name == "reference" else self.layout
        return partial(encode, self.model, layout, self.ctx, fast=name == "fast")


def make_setting(tower: str, n_classes: int, n_ctx: int) -> Setting:
    """Make a setting: Emoji-CLIP's tower, or random weights of ViT-B/32's shapes."""
    torch.manual_seed(0)
    clip = clipnotes.load(EMOJI_CLIP)
    model: nn.Module = clip.model
    if tower == "ViT-B/32":
        tokens = clip.tokenizer
        config = transformers.CLIPTextConfig(
            vocab_size=49408,
            hidden_size=512,
            intermediate_size=2048,
            num_hidden_layers=12,
            num_attention_heads=8,
            max_position_embeddings=77,
            projection_dim=512,
            bos_token_id=tokens.bos_token_id,
            eos_token_id=tokens.eos_token_id,
        )
        model = transformers.CLIPTextModelWithProjection(config).eval()
    elif tower != "Emoji-CLIP":
        raise ValueError(f"no tower {tower!r}; choose one of {', '.join(TOWERS)}")
    model.requires_grad_(False)
    embeddings: Any = text_tower(model).embeddings
    limit, width = embeddings.position_embedding.weight.shape
    names = class_names(clip.tokenizer, n_classes)
    layout = Layout.build(clip.tokenizer, names, n_ctx, limit=limit)
    return Setting(model, layout, random_ctx(n_ctx, width, seed=0).requires_grad_(True))


def class_names(tokenizer: Any, n: int) -> list[str]:
    """Return n names of emoji, and of pairs of them if needed ("red apple by a river")."""
    names = list(dict.fromkeys(load_emoji()["name"]))
    random.Random(0).shuffle(names)
    if n > len(names):
        pairs = [f"{a} by a {b}" for a in names[:200] for b in names[200:300]]
        random.Random(0).shuffle(pairs)
        # With 16 context tokens, start, full stop and end, Emoji-CLIP has room for 13 more.
        tokens = token_ids(tokenizer, pairs)
        names += [pair for pair, ids in zip(pairs, tokens, strict=True) if len(ids) <= 13]
    if n > len(names):
        raise ValueError(f"{n} classes are wanted and there are {len(names)} names")
    return names[:n]


def pad(layout: Layout, limit: int) -> Layout:
    """Fill all prompts up to the limit, with the end token."""
    ids = layout.input_ids
    end = int(ids[0, layout.eos[0]])
    return replace(layout, input_ids=nn.functional.pad(ids, (0, limit - ids.shape[1]), value=end))


def step(encode_all: Callable[[], Tensor], ctx: Tensor) -> tuple[float, Tensor, Tensor]:
    """Encode forward and backward; return the seconds, the features and the context's gradient."""
    start = now(ctx.device)
    features = encode_all()
    weights = torch.linspace(-1, 1, features.numel(), device=features.device)  # any loss will do
    (gradient,) = torch.autograd.grad((features * weights.view_as(features)).sum(), ctx)
    return now(ctx.device) - start, features.detach(), gradient


def now(device: torch.device) -> float:
    """Read the clock, in seconds, once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def about() -> dict[str, Any]:
    """Describe the machine and the versions."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        models = [line for line in lines if line.startswith("model name")]
        cpu = models[0].split(":")[1].strip() if models else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load": [round(load, 1) for load in os.getloadavg()],
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def shapes(model: nn.Module) -> tuple[int, int, int, int]:
    """Number of layers, width, width of the MLP, width of the projection."""
    tower: Any = text_tower(model)
    mlp = tower.encoder.layers[0].mlp
    projection: Any = text_projection(model)
    return len(tower.encoder.layers), *mlp.fc1.weight.shape[::-1], projection.out_features
