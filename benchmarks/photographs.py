"""Measure how much memory photographs need with each method: it must not grow with their number.

    python benchmarks/photographs.py
    python benchmarks/photographs.py --model DIRECTORY --methods vpt,maple --photos 100

It makes 500 photographs of 12 megapixels in 5 classes, in a temporary folder: 20 different JPEGs,
each under many names. Then `clipnotes compare` runs in a process of its own for each method. One
epoch and one seed do, because memory does not depend on how long one trains. Printed is the peak
memory of that process, less that of a process that only loads the model, in a line of JSON per
method. The exit code is 1 if a method needs more than the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

LIMIT = 1.5  # GB
COMPARE = "from clipnotes.cli import app; app()"
MODEL = """
import sys
import clipnotes.teach
from clipnotes.cli.terminal import load_model
clip = load_model(sys.argv[1] if len(sys.argv) > 1 else None)
"""


def photographs(top: Path, n: int, classes: int, width: int, height: int) -> None:
    """Make n JPEGs of noise, which take as long to decode as photographs."""
    noise = Image.effect_noise((width // 4, height // 4), 60)
    for i in range(n):
        folder = top / f"class_{i % classes}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{i:05}.jpg"
        if i < 4 * classes:
            channels = [noise.rotate(40 * i + 120 * c).resize((width, height)) for c in range(3)]
            Image.merge("RGB", channels).save(file, quality=85)
        else:
            first = i % (4 * classes)
            os.link(top / f"class_{first % classes}" / f"{first:05}.jpg", file)


def run(code: str, *arguments: str) -> tuple[float, str]:
    """Run some code in Python; return its peak memory in GB, and its stderr."""
    # The system also counts the memory of the process that starts another one, so this program
    # imports neither torch nor the package.
    with tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=stderr
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        text = stderr.read()
    if process.returncode:
        raise RuntimeError(f"{arguments} ended with {process.returncode}: {text}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9, text


def main(argv: list[str] | None = None) -> int:
    """Measure all methods; return 1 if one needs too much memory."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--size", default="4000x3000", help="of a photograph")
    parser.add_argument("--methods", default="coop,csc,kgcoop,cocoop,vpt,maple,tip,lp++,prolip")
    parser.add_argument("--model", help="a directory or a hub id; Emoji-CLIP unless given")
    parser.add_argument("--limit", type=float, default=LIMIT, help="GB beyond the model")
    chosen = parser.parse_args(argv)
    width, height = map(int, chosen.size.split("x"))
    of_model = [chosen.model] if chosen.model else []
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder), chosen.photos, chosen.classes, width, height)
        model, _ = run(MODEL, *of_model)
        for method in chosen.methods.split(","):
            arguments = ["compare", folder, "--methods", method, "--epochs", "1", "--seeds", "1"]
            started = time.monotonic()
            peak, stderr = run(COMPARE, *arguments, *(["--model", *of_model] if of_model else []))
            rate = re.search(r"([\d.]+) images per second", stderr)
            worst = max(worst, peak - model)
            row = {
                "method": method,
                "photos": f"{chosen.photos} of {width} x {height}",
                "GB": round(peak, 2),
                "GB beyond the model": round(peak - model, 2),
                "pictures a second": float(rate[1]) if rate else None,
                "seconds": round(time.monotonic() - started, 1),
            }
            print(json.dumps(row), flush=True)
    return int(worst > chosen.limit)


if __name__ == "__main__":
    sys.exit(main())
