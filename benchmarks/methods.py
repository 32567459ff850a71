"""The methods of prompt learning under one protocol, beside the baselines.

    python benchmarks/methods.py             # goes on where it stopped; writes
    clipnotes/measured/methods.json and prints the tables

All of it takes about an hour on two quiet cores; what stands in the file is not run again.

Two questions, those of ``few_shot`` (which see), with five seeds each:

- "new things": concepts that Emoji-CLIP never saw, learned from 1 to 8 drawings each, by designers
  that it knows; tested on Twemoji and OpenMoji, which it does not know.
- "a new designer", base to new: 150 known concepts, one drawing each, all by one unknown designer.
  Base is the same concepts by the other one; new is 150 other concepts by the same one, for which
  a method that is bound to its classes has no answer. The harmonic mean is each run's own.

Methods run by their authors' recipes ("published"). These are for CLIP, whose temperature is 100;
Emoji-CLIP's is 16. So the learning rate is also chosen ("tuned"), and nothing
but that: with four drawings of the new things and seed 0, on what known designers drew of them
besides (CoCoOp, which is slow, with one drawing). That rate is used for all seeds, all numbers of
drawings and both questions. No image by a test designer takes part in the choice. Where it is the
authors' own, "tuned" is "published", and is not run again.

What ``few_shot`` has measured already is taken from there and marked; its seconds include the
tests. Each run has one thread, and there are two at once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

import clipnotes
import few_shot
import method_runs
from clipnotes.files import write_atomically
from method_runs import MethodRun, with_harmonic_mean
from method_tables import tables
from report import dumps
from setting import about
from teach import COMPARED, FITTED, TIPS

HERE = Path(__file__).parent
SEEDS = 5
GRID = (0.002, 0.02, 0.2)  # learning rates to choose from
CHOICE = {"shots": 4, "seed": 0}  # the runs that they are tried on
# CoCoOp takes a step for each image, and encodes every class for it: it is tried with fewer.
SLOW = {"CoCoOp": {"shots": 1, "seed": 0}}
# A group has a question, designer, recipe, numbers of drawings and methods. few_shot has measured
# CoOp and CSC by the published recipe with all numbers of drawings.
Group = tuple[tuple[str, str], str, tuple[int, ...], tuple[str, ...]]
VISUAL = ("VPT shallow", "VPT deep", "MaPLe")
THINGS, DESIGNER = ("new things", ""), "a new designer"
ALL_SHOTS = (1, 2, 4, 8)
PLAN: tuple[Group, ...] = (
    (THINGS, "published", ALL_SHOTS, TIPS),
    ((DESIGNER, "openmoji"), "published", (1,), (*VISUAL, "CoCoOp", *TIPS)),
    ((DESIGNER, "twemoji"), "published", (1,), (*VISUAL, "CoCoOp", *TIPS)),
    ((DESIGNER, "openmoji"), "tuned", (1,), ("KgCoOp", "CSC")),
    ((DESIGNER, "twemoji"), "tuned", (1,), ("KgCoOp", "CSC")),
    (THINGS, "published", ALL_SHOTS, VISUAL),
    (THINGS, "tuned", ALL_SHOTS, ("KgCoOp", "CSC")),
    (THINGS, "published", ALL_SHOTS, ("CoCoOp",)),
)
NAMES = {  # in few_shot
    "hand template": "zero-shot",
    "nearest mean": "nearest mean",
    "linear probe": "linear probe",
    "one context": "CoOp",
    "one context per class": "CSC",
}
Row = dict[str, Any]


def trials() -> Iterator[MethodRun]:
    """Yield a run for every learning rate of every method that has one."""
    for method in FITTED:
        for lr in GRID:
            yield MethodRun("validation", method, "tuned", lr, **SLOW.get(method, CHOICE))


def choose(rows: dict[MethodRun, Row]) -> dict[str, dict[str, Any]]:
    """Choose the best learning rate of each method, the smaller of two equal ones."""
    scores_of: dict[str, dict[float, float]] = {}
    for run in trials():
        if run in rows:
            scores = scores_of.setdefault(run.method, {})
            scores[run.lr or 0.0] = rows[run]["accuracy"]["validation"]
    return {
        method: {
            "chosen": max(sorted(scores), key=lambda lr: scores[lr]),
            "validation": {f"{lr:g}": scores[lr] for lr in sorted(scores)},
        }
        for method, scores in scores_of.items()
    }


def plan(seeds: int, chosen: dict[str, dict[str, Any]]) -> Iterator[MethodRun]:
    """Yield every run of both questions, group by group, with all seeds."""
    for (question, designer), recipe, all_shots, some in PLAN:
        for shots, seed, method in product(all_shots, range(seeds), some):
            lr = FITTED[method].lr if method in FITTED else None
            if recipe == "tuned":
                lr = chosen.get(method, {}).get("chosen")
            yield MethodRun(question, method, recipe, lr, shots, seed, designer)


def taken(results: dict[str, Any], seeds: int, width: int) -> Iterator[Row]:
    """Yield what few_shot has measured by the same protocol, as rows of this program."""
    n_ctx = results["about"]["n_ctx"]
    for row in results["rows"]:
        plain = row["method"] in NAMES and row["position"] == "end" and row["init"] is None
        if not plain or row["seed"] >= seeds:
            continue
        method, n = NAMES[row["method"]], results["about"]["classes"][row["question"]]
        sizes = {
            "zero-shot": 0,
            "nearest mean": n * width,
            "linear probe": n * (width + 1),
            "CoOp": n_ctx * width,
            "CSC": n * n_ctx * width,
        }
        where = {name: row[name] for name in ("shots", "seed", "designer")}
        lr = FITTED[method].lr if method in FITTED else None
        yield {
            **MethodRun(row["question"], method, "published", lr, **where)._asdict(),
            "accuracy": with_harmonic_mean(row["accuracy"]),
            "n_parameters": sizes[method],
            "seconds": row["seconds"],
            "seconds_per_step": None,
            "from": "few_shot",
        }


def run_all(
    runs: Iterable[MethodRun],
    rows: dict[MethodRun, Row],
    save: Callable[[], None],
    pool: Executor,
    title: str,
) -> None:
    """Measure the runs that have no row yet, and save after each."""
    left = [run for run in runs if run not in rows]
    futures = {pool.submit(method_runs.work, run): run for run in left}
    try:
        for done in tqdm(as_completed(futures), total=len(left), desc=title, unit="run"):
            rows[futures[done]] = done.result()
            save()
    except BaseException:
        pool.shutdown(cancel_futures=True)  # rows that were saved stay saved
        raise


def cost(method: str) -> Row:
    """Measure what a method costs, in a process of its own."""
    command = [sys.executable, str(HERE / "method_cost.py"), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"method_cost.py {method!r} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def read(path: Path) -> tuple[dict[str, Row], dict[MethodRun, Row]]:
    """Read the costs and rows of an earlier run; empty if there was none."""
    if not path.exists():
        return {}, {}
    kept = json.loads(path.read_text("utf-8"))
    rows = [row for row in kept["rows"] if "from" not in row]
    named = [MethodRun(**{name: row[name] for name in MethodRun._fields}) for row in rows]
    return kept["about"]["cost"], dict(zip(named, rows, strict=True))


def compare(folder: Path, seeds: int, workers: int) -> dict[str, Any]:
    """Measure everything that has not been measured yet, and write the results."""
    path = folder / "clipnotes" / "measured" / "methods.json"
    costs, rows = read(path)
    before = {**about(), "threads": 1, "workers": workers, "model": "Emoji-CLIP"}
    earlier = json.loads(few_shot.OUT.read_text("utf-8"))
    width = clipnotes.load().model.config.projection_dim  # the text tower is as wide
    from_few_shot = list(taken(earlier, seeds, width))
    results: dict[str, Any] = {}

    def save() -> None:
        chosen = choose(rows)
        # Rows that only an older plan had are left out.
        wanted = [*trials(), *plan(seeds, chosen)]
        measured = [rows[run] for run in wanted if run in rows]
        results["about"] = {
            **before,
            "n_ctx": earlier["about"]["n_ctx"],
            "classes": earlier["about"]["classes"],
            "lr": chosen,
            "grid": GRID,
            "cost": costs,
        }
        results["rows"] = [
            {**row, "extra_bytes": costs.get(row["method"], {}).get("extra_bytes")}
            for row in [*from_few_shot, *measured]
        ]
        write_atomically(path, dumps(results).encode())

    for method in tqdm([name for name in COMPARED if name not in costs], desc="cost"):
        costs[method] = cost(method)
        save()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        run_all(trials(), rows, save, pool, "learning rates")
        run_all(plan(seeds, choose(rows)), rows, save, pool, "runs")
    save()
    return results


def main() -> None:
    """Run what has not run yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--folder", type=Path, default=HERE.parent, help="the repository's")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that this one starts
    print(tables(compare(args.folder, args.seeds, args.workers)))


if __name__ == "__main__":
    main()
