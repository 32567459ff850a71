"""Measure how long a step takes in each of the three ways, in one process.

    python benchmarks/text_step.py --tower ViT-B/32 --classes 100 --n-ctx 16

Each round runs every way once, and the bare matrix products of the fast way (see ``arithmetic``).
Ratios are taken within a round, where other work on the machine slows both sides. The program
prints medians over the rounds, in one line of JSON. Before it starts the clock, it runs every way
once and compares features and gradients.
"""

from __future__ import annotations

import argparse
import json
from statistics import median
from typing import Any

import torch
from torch import Tensor

from arithmetic import Products, Tokens, necessary_flops
from setting import THREADS, TOWERS, WAYS, make_setting, step


def difference(values: Tensor, expected: Tensor) -> float:
    """Return the largest difference, divided by the largest entry."""
    return float((values - expected).abs().max() / expected.abs().max())


def measure(tower: str, n_classes: int, n_ctx: int, ways: list[str], rounds: int) -> dict[str, Any]:
    """Time a setting."""
    setting = make_setting(tower, n_classes, n_ctx)
    runs = {way: setting.way(way) for way in ways}
    products, flops = Products(setting), necessary_flops(setting.model, setting.layout)
    first = {way: step(run, setting.ctx)[1:] for way, run in runs.items()}
    differences = {
        way: {
            "features": difference(first["fast"][0], features),
            "gradient": difference(first["fast"][1], gradient),
        }
        for way, (features, gradient) in first.items()
        if way != "fast"
    }
    products.speed()
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    speeds = []
    for _ in range(rounds):
        for way, run in runs.items():
            seconds[way].append(step(run, setting.ctx)[0])
        speeds.append(products.speed())
    pairs = list(zip(speeds, seconds["fast"], strict=True))
    return {
        "rounds": rounds,
        "tokens": Tokens.count(setting.layout).rows,
        "longest": int(setting.layout.eos.max()) + 1,
        "limit": setting.limit,
        "seconds": {way: median(times) for way, times in seconds.items()},
        "times_faster": {
            way: median(a / b for a, b in zip(times, seconds["fast"], strict=True))
            for way, times in seconds.items()
            if way != "fast"
        },
        "necessary_gflop": flops / 1e9,
        "matmul_gflops": median(speeds) / 1e9,
        "matmul_share": median(flops / time / speed for speed, time in pairs),
        "difference": differences,
    }


def main() -> None:
    """Print the row of one setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tower", choices=TOWERS, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--n-ctx", type=int, default=16)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="fast is always run")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    ways = [way for way in WAYS if way == "fast" or way in args.ways]
    print(json.dumps(measure(args.tower, args.classes, args.n_ctx, ways, args.rounds)))


if __name__ == "__main__":
    main()
