"""Check that a graphics processor gives the same numbers, and measure how fast it is.

    python benchmarks/on_gpu.py                        on the first CUDA device, under five minutes
    python benchmarks/on_gpu.py --device cpu --small   the same on the CPU, on a small scale

First it compares numbers with the CPU in float32: of both ways to encode prompts, the learners of
all methods, ``fit``, ``learn`` and the explorers' states. If the device computes in half precision,
the CPU's model gets the rounded weights. A difference is the largest one, divided by the largest
entry; ``TOLERANCES`` says how large it may be. TF32 is off. Then it measures time and memory of a
step of the text tower, and of the same step with padded prompts (see ``text_step``).

All rows go into a JSON file, with a description of the device. If a part fails, its error becomes a
row and the other parts go on. At the end the exit code is 1, and what was wrong is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import equality
from clipnotes.files import write_atomically
from report import dumps
from setting import TOWERS, about, make_setting, step
from text_step import difference

Row = dict[str, Any]
OUT = Path(__file__).with_suffix(".json")
ROUNDS = 5
#: For features and logits, then for gradients. Half precision has 11 binary digits, bfloat16 8.
TOLERANCES: Mapping[torch.dtype, tuple[float, float]] = {
    torch.float32: (1e-4, 1e-3),
    torch.float16: (1e-2, 5e-2),
    torch.bfloat16: (5e-2, 2e-1),
}


@dataclass(frozen=True)
class Plan:
    """How much of everything to run."""

    towers: tuple[str, ...] = TOWERS
    classes: tuple[int, ...] = (100, 1000)  # of the timed steps
    compared: int = 20  # classes, where numbers are compared
    n_ctx: int = 16
    rounds: int = ROUNDS
    epochs: int = 20


SMALL = Plan(towers=TOWERS[:1], classes=(3,), compared=3, n_ctx=2, rounds=1, epochs=2)


def name_of(dtype: torch.dtype) -> str:
    """float32 for torch.float32."""
    return str(dtype).removeprefix("torch.")


def judged(what: str, dtype: torch.dtype, differences: Mapping[str, float], **more: Any) -> Row:
    """Make a row of differences; ``wrong`` names those that are larger than they may be."""
    values, gradients = TOLERANCES[dtype]
    allowed = {name: gradients if "gradient" in name else values for name in differences}
    # Written as "not ... <=", so that NaN counts as wrong, too.
    wrong = [name for name, largest in differences.items() if not largest <= allowed[name]]
    row = {"what": what, "dtype": name_of(dtype), **more, "difference": dict(differences)}
    return {**row, "wrong": wrong} if wrong else row


def text_paths(device: torch.device, plan: Plan) -> Iterator[Row]:
    """Compare both ways to encode prompts on the device with the plain one on the CPU."""
    for tower in plan.towers:
        first = make_setting(tower, plan.compared, plan.n_ctx)
        for dtype in TOLERANCES:
            there = first.to(device, dtype)
            here = there.to(torch.device("cpu"), torch.float32)
            _, features, gradient = step(here.way("cut"), here.ctx)
            differences = {}
            for way in ("fast", "cut"):
                _, ours, our_gradient = step(there.way(way), there.ctx)
                differences[f"{way}: features"] = difference(ours.float().cpu(), features)
                differences[f"{way}: gradient"] = difference(our_gradient.float().cpu(), gradient)
            yield judged("text path", dtype, differences, tower=tower)


def methods(device: torch.device, plan: Plan) -> Iterator[Row]:
    """Compare logits and gradients of every method's learner."""
    for tower in plan.towers:
        for dtype in TOLERANCES:
            for method, differences in equality.of_learners(tower, device, dtype, plan.compared):
                yield judged("method", dtype, differences, tower=tower, method=method)


def training(device: torch.device, plan: Plan) -> Iterator[Row]:
    """Compare whole trainings: ``fit`` with its checkpoint, and ``learn`` by every method."""
    of_fit, seconds = equality.of_fit(device, plan.compared, plan.epochs)
    yield judged("fit", torch.float32, of_fit, seconds=seconds, epochs=plan.epochs)
    for method, differences in equality.of_learn(device, plan.compared, min(plan.epochs, 3)):
        yield judged("learn", torch.float32, differences, method=method)


def looking(device: torch.device, plan: Plan) -> Iterator[Row]:
    """Compare the states that the explorers and ``looking`` work on."""
    for dtype in TOLERANCES:
        yield judged("states", dtype, equality.of_states(device, dtype))


def speed(device: torch.device, plan: Plan) -> Iterator[Row]:
    """Time a step of the fast way and of the padded tower, and take its memory."""
    for tower in plan.towers:
        for n_classes in plan.classes:
            first = make_setting(tower, n_classes, plan.n_ctx)
            for dtype in TOLERANCES:
                there = first.to(device, dtype)
                row = {"what": "step", "dtype": name_of(dtype), "tower": tower}
                row |= {"classes": n_classes, "n_ctx": plan.n_ctx, "seconds": {}, "bytes": {}}
                for way in ("fast", "reference"):
                    try:
                        taken = timed(there.way(way), there.ctx, plan.rounds)
                    except torch.cuda.OutOfMemoryError:
                        row["not_run"] = f"{way}: the device's memory is too small"
                        torch.cuda.empty_cache()
                        continue
                    row["seconds"][way], row["bytes"][way] = taken
                if len(row["seconds"]) == 2:
                    row["times_faster"] = row["seconds"]["reference"] / row["seconds"]["fast"]
                yield row


def timed(run: Callable[[], Tensor], ctx: Tensor, rounds: int) -> tuple[float, int | None]:
    """Return a step's median seconds and peak of extra bytes; a CPU has no bytes."""
    step(run, ctx)  # the first one loads kernels
    if ctx.device.type != "cuda":
        return median(step(run, ctx)[0] for _ in range(rounds)), None
    before = torch.cuda.memory_allocated(ctx.device)
    torch.cuda.reset_peak_memory_stats(ctx.device)
    seconds = median(step(run, ctx)[0] for _ in range(rounds))
    return seconds, torch.cuda.max_memory_allocated(ctx.device) - before


PARTS = (text_paths, methods, training, looking, speed)


def rows_of(part: Callable[[torch.device, Plan], Iterator[Row]], *arguments: Any) -> Iterator[Row]:
    """Yield the rows of a part; if it fails, its last row holds the error."""
    try:
        yield from part(*arguments)
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        yield {"what": part.__name__, "wrong": [message], "traceback": traceback.format_exc()}


def describe(device: torch.device) -> dict[str, Any]:
    """Describe the device and the versions."""
    facts = {"device": device.type, "cuda": torch.version.cuda, **about()}
    if device.type != "cuda":
        return facts
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        driver = f"unknown ({type(error).__name__})"
    card = torch.cuda.get_device_properties(device)
    facts |= {"device": torch.cuda.get_device_name(device), "driver": driver}
    return facts | {"bytes": card.total_memory, "capability": f"{card.major}.{card.minor}"}


def write(rows: list[Row], facts: dict[str, Any], out: Path) -> int:
    """Write the file, print what was wrong, and return how many rows that is."""
    write_atomically(out, dumps({"about": facts, "rows": rows}).encode())
    wrong = [row for row in rows if "wrong" in row]
    for row in wrong:
        print(row.get("traceback", ""), "WRONG:", json.dumps(row), file=sys.stderr)
    print(f"{len(rows)} rows, {len(wrong)} wrong, {facts['seconds']} s: {out}")
    return len(wrong)


def main(words: list[str]) -> int:
    """Run all parts, write the file, say what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="as torch calls it")
    parser.add_argument("--small", action="store_true", help="a little of all, to see that it runs")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(words)
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch sees no CUDA device; --device cpu --small tries this program without one")
        return 2
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # on by default, and the patches pass a convolution
    start, rows = time.monotonic(), []
    for part in PARTS:
        for row in rows_of(part, device, SMALL if args.small else Plan()):
            rows.append(row)
            print(json.dumps({k: v for k, v in row.items() if k != "traceback"}), flush=True)
    facts = {**describe(device), "seconds": round(time.monotonic() - start, 1)}
    return int(write(rows, facts, args.out) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
