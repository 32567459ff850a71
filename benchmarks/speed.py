"""Run all benchmarks of speed, and write their results: `make bench`.

    python benchmarks/speed.py

Every row comes from a process of its own and holds the command that made it. A plain way is left
out, and its row says so, if it would need more than ``PART`` of the free memory. This is estimated
from a run with fewer classes. Results go to ``clipnotes/measured/speed.json``, a figure to
``benchmarks/results.png``, and a table to the README.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

import report
from clipnotes.files import write_atomically
from setting import THREADS, TOWERS, WAYS, about

HERE = Path(__file__).parent
PART = 0.6
Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to run."""

    towers: tuple[str, ...] = TOWERS
    classes: tuple[int, ...] = (10, 100, 1000)
    many: tuple[int, ...] = (10_000,)  # the fast way only
    n_ctx: tuple[int, ...] = (4, 16)
    rounds: tuple[int, ...] = (15, 7, 3)  # for each number of classes
    fit: tuple[str, ...] = ()

    def __len__(self) -> int:
        settings = len(self.towers) * len(self.n_ctx)
        return settings * (len(self.classes) * (len(WAYS) + 1) + len(self.many)) + 1


QUICK = Plan(
    towers=TOWERS[:1],
    classes=(2,),
    many=(),
    n_ctx=(2,),
    rounds=(1,),
    fit=("--classes=2", "--shots=1", "--epochs=2", "--naive-epochs=2"),
)


def run(program: str, *options: str) -> Row:
    """Run a program of this folder, and return its row with the command."""
    command = ["python", f"benchmarks/{program}.py", *options]
    done = subprocess.run(
        [sys.executable, HERE / f"{program}.py", *options],
        env={**os.environ, "OMP_NUM_THREADS": str(THREADS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stderr}")
    return {"command": shlex.join(command), **json.loads(done.stdout.splitlines()[-1])}


def free_memory() -> int:
    """Return how many bytes a new process could use."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(line.split()[1])


def too_large(needed: float, classes: int) -> str | None:
    """Say why a way is left out; None if it is not."""
    free = free_memory()
    if needed <= PART * free:
        return None
    return (
        f"needs {needed / 1e9:.0f} GB (extrapolated from {classes} classes); "
        f"{free / 1e9:.0f} GB are free, and {PART:.0%} of them may be used"
    )


def measure(plan: Plan) -> Iterator[Row]:
    """Run everything, and yield the rows as they come."""
    for tower in plan.towers:
        for n_ctx in plan.n_ctx:
            where = {"tower": tower, "n_ctx": n_ctx}
            known: dict[str, tuple[int, int]] = {}  # of each way: classes, bytes
            all_classes = (*plan.classes, *plan.many)
            all_rounds = (*plan.rounds, *[0] * len(plan.many))
            for n, rounds in zip(all_classes, all_rounds, strict=True):
                options = (f"--tower={tower}", f"--classes={n}", f"--n-ctx={n_ctx}")
                fits = []
                for way in WAYS if rounds else WAYS[:1]:
                    row = {"what": "memory", **where, "classes": n, "way": way}
                    least, taken = known.get(way, (n, 0))
                    reason = None if way == "fast" else too_large(taken * n / least, least)
                    if reason is not None:
                        yield {**row, "not_run": reason, "extra_bytes": taken * n // least}
                        continue
                    row |= run("one_step", *options, f"--way={way}")
                    known[way] = (n, row["extra_bytes"])
                    fits.append(way)
                    yield row
                if rounds:
                    row = {"what": "time", **where, "classes": n}
                    yield row | run("text_step", *options, f"--rounds={rounds}", "--ways", *fits)
    yield {"what": "fit"} | run("whole_fit", *plan.fit)


def write(results: dict[str, Any], folder: Path) -> None:
    """Write the results, the figure and the README's table."""
    path = folder / "clipnotes" / "measured" / "speed.json"
    write_atomically(path, report.dumps(results).encode())
    write_atomically(folder / "benchmarks" / "results.png", report.figure(results))
    readme = folder / "README.md"
    write_atomically(readme, report.insert(readme.read_text("utf-8"), results).encode())


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--rounds", type=int, help="of each time; unless given, 3 to 15")
    parser.add_argument("--folder", type=Path, default=HERE.parent, help="the repository's")
    args = parser.parse_args()
    if sys.platform != "linux":
        raise SystemExit(f"memory is measured on Linux only, and this is {sys.platform}")
    plan = QUICK if args.quick else Plan()
    if args.rounds:
        plan = Plan(rounds=(args.rounds,) * 3)
    before = about()
    if before["load"][0] > report.BUSY:
        tqdm.write(
            f"the load is {before['load'][0]}: times and ratios will not be those of a quiet "
            "machine. Memory will.",
            file=sys.stderr,
        )
    rows = list(tqdm(measure(plan), total=len(plan), unit="run"))
    write({"about": before, "rows": rows}, args.folder)
    print(report.table({"about": before, "rows": rows}))


if __name__ == "__main__":
    main()
