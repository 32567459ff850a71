"""Run everything cold, with the newest release of all that `pyproject.toml` allows.

    python book/newest.py [--torch VERSION] [--python PYTHON]

The environment and a copy of the working tree are made anew in `.newest/`, so what is built here
stays as it is. Unit tests, notebooks and the book run in the copy. At the end stands which package
is not what `constraints.txt` pins, and which step is red. torch stays at its pin: its newest
release on PyPI is a CUDA build of gigabytes. `--torch newest` takes that too.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import matrix
from colab import snapshot

FOLDER = matrix.ROOT / ".newest"
TREE = FOLDER / "tree"
PYTHON = FOLDER / "environment" / "bin" / "python"
HELD = "torch"
WHO = "newest"
TESTED = {
    "unit tests": [*matrix.STEPS["unit tests"], "--ignore=tests/site"],
    "chapters": ["book/execute.py"],  # keeps the outputs, from which the book is then built
}
BOOK = ["book/build.py"]


def held(torch: str) -> dict[str, str]:
    """Return the pins that the newest environment has.

    Args:
        torch: a version, `pinned` or `newest`.
    """
    if torch == "newest":
        return {}
    return {HELD: matrix.pins(matrix.PINS)[HELD] if torch == "pinned" else torch}


def prepare(interpreter: str, torch: str) -> matrix.Step:
    """Make the copy of the working tree and the environment.

    Args:
        interpreter: the Python to make it with.
        torch: as for `held`.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    TREE.mkdir(parents=True)
    snapshot(TREE)
    wanted = FOLDER / "constraints.txt"
    matrix.write_pins(wanted, held(torch))
    made = matrix.finish(WHO, "venv", [interpreter, "-m", "venv", str(PYTHON.parents[1])])
    if not made.passed:
        return made
    package = f"{TREE}{matrix.EXTRAS.removeprefix('.')}"
    command = [str(PYTHON), "-m", "pip", "install", "--no-compile", "-c", str(wanted)]
    command += ["-e", package]
    return matrix.finish(WHO, "environment", command)


def moved(installed: dict[str, str]) -> list[tuple[str, str, str]]:
    """Name the packages that are not as pinned: name, pinned and installed version.

    What is pinned and not there belongs to extras that are not installed here.

    Args:
        installed: canonical name -> version.
    """
    pins = matrix.pins(matrix.PINS)
    found = {name: version.split("+")[0] for name, version in sorted(installed.items())}
    return [
        (name, pins.get(name, "-"), version)
        for name, version in found.items()
        if name not in matrix.OURS and pins.get(name) != version
    ]


def moves(rows: list[tuple[str, str, str]]) -> str:
    """Lay the packages that moved out, a line each."""
    lines = [("package", "pinned", "newest"), *rows]
    first, second, _ = (max(map(len, column)) for column in zip(*lines, strict=True))
    return "\n".join(f"{name:{first}}  {old:{second}}  {new}" for name, old, new in lines)


def inside() -> int:
    """Run all steps, in the copy and with its environment; return 1 if one is red."""
    steps = {}
    for name, arguments in TESTED.items():
        step = matrix.carry_out(WHO, name, [sys.executable, *arguments])
        steps[name] = matrix.tell(WHO, name, step)
    steps["book"] = matrix.finish(WHO, "book", [sys.executable, *BOOK])
    matrix.tell(WHO, "book", steps["book"])
    results = {WHO: steps}
    failed = matrix.show_failures(results, "releases")
    print("", moves(moved(matrix.packages_of(Path(sys.executable)))), sep="\n")
    print("", matrix.table(results, "releases", list(steps)), sep="\n")
    return 1 if failed else 0


def main(words: list[str]) -> int:
    """Prepare, then start this program a second time: in the copy, with its environment."""
    parser = argparse.ArgumentParser(description="Run everything with the newest releases.")
    parser.add_argument("--torch", default="pinned", help="a version, or `newest`")
    parser.add_argument("--python", default=sys.executable, help="makes the environment")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.inside:
        return inside()
    print(f"==> newest releases: environment, then {', then '.join(TESTED)}, then book", flush=True)
    step = matrix.tell(WHO, "environment", prepare(given.python, given.torch))
    if not step.passed:
        results = {WHO: {"environment": step}}
        matrix.show_failures(results, "releases")
        print("", matrix.table(results, "releases", ["environment", *TESTED, "book"]), sep="\n")
        return 1
    print(f"Logs: {(TREE / matrix.LOGS.relative_to(matrix.ROOT)).relative_to(matrix.ROOT)}/")
    sys.stdout.flush()
    command = [str(PYTHON), str(TREE / "book" / "newest.py"), "--inside"]
    return subprocess.run(command, cwd=TREE, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
