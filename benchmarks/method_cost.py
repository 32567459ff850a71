"""Measure what a method costs: learned numbers, seconds per step and memory, in its own process.

    python benchmarks/method_cost.py "VPT deep"

It learns the new things from four drawings each, for one epoch if the method has epochs. A first
training with two classes brings the weights into memory and loads the libraries. Memory is what is
needed beyond the model and the prepared images, see ``one_step``. Linux only. It prints one line
of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import torch

import few_shot
from clipnotes.prompts.inputs import features_of, pixels_of
from one_step import forget_peak, peak
from teach import COMPARED, FITTED, takes_pixels, teach

SHOTS = 4


def measure(method: str) -> dict[str, Any]:
    """Train a method for one epoch, and measure it."""
    bench = few_shot.Bench(held_out=True)
    rows, labels = bench.draw(bench.new, bench.known, SHOTS, 0)
    pictures = [bench.data[i]["image"] for i in rows]
    prepare = pixels_of if takes_pixels(method) else features_of
    images = prepare(bench.clip, pictures)
    how = {"shots": SHOTS, "seed": 0, "epochs": 1 if method in FITTED else None}
    two = bench.new[:2]
    some = [i for i, name in enumerate(labels) if name in two]
    teach(method, bench.clip, two, images[some], [labels[i] for i in some], **how)
    forget_peak()
    before = peak()
    taught = teach(method, bench.clip, bench.new, images, labels, **how)
    return {**taught.cost(), "extra_bytes": peak() - before}


def main() -> None:
    """Print the cost of one method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=COMPARED)
    args = parser.parse_args()
    if sys.platform != "linux":
        raise SystemExit(f"peak memory is measured on Linux only, and this is {sys.platform}")
    torch.set_num_threads(1)
    print(json.dumps(measure(args.method)))


if __name__ == "__main__":
    main()
