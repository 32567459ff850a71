"""Measure how much extra memory one step needs, in a process of its own. Linux only.

    python benchmarks/one_step.py --tower ViT-B/32 --classes 100 --n-ctx 16 --way fast

A first step with a single class brings the weights into memory and loads the libraries. Then the
program gives free memory back, resets the system's high-water mark, takes the step and reads the
mark (``getrusage``). Its seconds are those of a first run; use ``text_step`` to measure times. It
prints one line of JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clipnotes.prompts.layout import Layout
from setting import THREADS, TOWERS, WAYS, make_setting, step


def peak() -> int:
    """Return the most memory that this process ever had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Give free memory back, and set the high-water mark to what is in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def measure(tower: str, n_classes: int, n_ctx: int, way: str) -> dict[str, Any]:
    """Take one step, and measure it."""
    setting = make_setting(tower, n_classes, n_ctx)
    layout = setting.layout
    first = Layout(layout.input_ids[:1], layout.ctx_positions[:1], layout.eos[:1])
    step(replace(setting, layout=first).way(way), setting.ctx)
    run = setting.way(way)
    forget_peak()
    before = peak()
    seconds, _, _ = step(run, setting.ctx)
    return {"extra_bytes": peak() - before, "seconds": seconds}


def main() -> None:
    """Print the row of one setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tower", choices=TOWERS, required=True)
    parser.add_argument("--classes", type=int, required=True)
    parser.add_argument("--n-ctx", type=int, default=16)
    parser.add_argument("--way", choices=WAYS, default="fast")
    args = parser.parse_args()
    if sys.platform != "linux":
        raise SystemExit(f"peak memory is measured on Linux only, and this is {sys.platform}")
    torch.set_num_threads(THREADS)
    print(json.dumps(measure(args.tower, args.classes, args.n_ctx, args.way)))


if __name__ == "__main__":
    main()
