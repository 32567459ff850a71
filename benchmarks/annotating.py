"""Measure what watching a forward costs, as ratios to the forward itself, in one run.

    python benchmarks/annotating.py
    python benchmarks/annotating.py --rounds 20

The model has the size of ViT-B/32 and random weights; one image and one text of 16 tokens go in, on
one thread. Rounds of all ways take turns, so that what else the machine does falls on each of them,
and of each way the quickest round counts. Printed is a line of JSON per part. The exit code is 1 if
the vision tower or the whole model takes more than the limit. The text tower is not held to it: 16
tokens are computed so quickly that watching Python weighs more.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import CLIPConfig, CLIPModel

from clipnotes import annotate
from clipnotes.trace import trace

LIMIT = 3.0  # times the forward


def quickest(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Run each way a few times, in turns; return the seconds of the processor that it needs."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, run in ways.items():
            start = time.process_time()
            run()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def ratios(module: Any, inputs: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return the times of a module's call chain, notes and deep notes over that of its forward."""
    ways = {
        "forward": lambda: module(**inputs),
        "trace": lambda: trace(module, **inputs),
        "annotate": lambda: annotate(module, **inputs),
        "deep": lambda: annotate(module, **inputs, deep=True),
    }
    seconds = quickest(ways, rounds)
    return {name: seconds[name] / seconds["forward"] for name in ("trace", "annotate", "deep")}


def main(words: list[str] | None = None, config: CLIPConfig | None = None) -> int:
    """Measure both towers, one layer, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    model = CLIPModel(config or CLIPConfig()).eval()
    size = model.config.vision_config.image_size
    ids = torch.randint(3, 12, (1, min(16, model.config.text_config.max_position_embeddings)))
    text = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    image = {"pixel_values": torch.randn(1, 3, size, size)}
    worst = 0.0
    with torch.inference_mode():
        for name, module, inputs in (
            ("vision tower", model.vision_model, image),
            ("text tower", model.text_model, text),
            ("CLIPModel", model, text | image),
        ):
            found = ratios(module, inputs, given.rounds)
            print(json.dumps({"part": name} | {k: round(v, 2) for k, v in found.items()}))
            if name != "text tower":
                worst = max(worst, found["annotate"], found["deep"])
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
