"""Run all unit tests and all chapters on every supported version of transformers.

    python book/matrix.py [VERSION ...]    all versions, some, or `older`: all but the newest
    python book/matrix.py --record         only write down again what each version does

The newest version is the pin in `constraints.txt`; its environment is the one that runs this
program (`.venv`). Each older version has a file in `constraints/` with the pins in which it differs
and an environment of its own in `.matrix/`, made again only when something that goes into it
changes. What the steps print goes to `_build/matrix/`; a table comes at the end.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
DIFFERENCES = ROOT / "constraints"
ENVIRONMENTS = ROOT / ".matrix"
LOGS = ROOT / "_build" / "matrix"
EXTRAS = ".[book,test]"
OURS = {"pip", "clipnotes-book"}
STEPS = {
    "unit tests": ["-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "--color=no"],
    "chapters": ["book/execute.py", "--check"],
}
RECORDERS = {"record": "book/record.py", "outputs": "book/by_version.py"}
CLOSING = re.compile(r"^=+ (\d+ .*) in [\d.]+s.*=$", flags=re.MULTILINE)
TAIL = 40  # lines of a failed step's log to show


@dataclass
class Step:
    """One thing that was done for one version.

    Attributes:
        passed: whether it did what it should.
        said: the result in a few words.
        seconds: how long it took.
        log: the file with all that it printed; `None` if nothing ran.
    """

    passed: bool
    said: str
    seconds: float = 0.0
    log: Path | None = None


def pins(path: Path) -> dict[str, str]:
    """Read a file of exact pins.

    Args:
        path: a constraints file: a pin a line, `#` before a comment.

    Returns:
        Canonical name -> version.
    """
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = [Requirement(line) for line in lines if line]
    return {canonicalize_name(r.name): str(r.specifier).removeprefix("==") for r in found}


def newest() -> str:
    """Return the version that the book is built with."""
    return pins(PINS)["transformers"]


def versions() -> list[str]:
    """List the supported versions, oldest first."""
    return [*sorted((file.stem for file in DIFFERENCES.glob("*.txt")), key=Version), newest()]


def constraints(version: str) -> dict[str, str]:
    """Return every pin of a version's environment: those of the newest, where it has no other."""
    own = {} if version == newest() else pins(DIFFERENCES / f"{version}.txt")
    return pins(PINS) | own


def chosen(words: Sequence[str]) -> list[str]:
    """Return the versions that a user asked for, oldest first.

    Args:
        words: versions, or `older`; nothing means all.

    Raises:
        ValueError: A word is neither.
    """
    known = versions()
    wrong = [word for word in words if word not in (*known, "older")]
    if wrong:
        raise ValueError(
            f"no such version: {' '.join(wrong)}. Take some of {' '.join(known)}, or `older` for "
            "all but the newest. A new one needs a file in constraints/."
        )
    older = known[:-1] if "older" in words else []
    return [version for version in known if not words or version in (*words, *older)]


def python(version: str) -> Path:
    """Return the interpreter of a version's environment."""
    if version == newest():
        return Path(sys.executable)
    return ENVIRONMENTS / version / "bin" / "python"


def run(
    command: Sequence[str | Path], log: Path, changes: Mapping[str, str | None] | None = None
) -> int:
    """Run a program in the repository, its output at the end of a file; return its exit code.

    Args:
        command: the program and its arguments.
        log: the file.
        changes: environment variables to set; `None` for one that must not be set.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    wanted = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(changes or {})}
    settings = {name: value for name, value in wanted.items() if value is not None}
    with log.open("a", encoding="utf-8") as file:
        print("$", *command, file=file, flush=True)
        return subprocess.run(
            command, cwd=ROOT, env=settings, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode


def log_of(version: str, name: str) -> Path:
    """Begin a new log for a step."""
    log = LOGS / f"{version}-{name.replace(' ', '-')}.log"
    log.unlink(missing_ok=True)
    return log


def ingredients(version: str) -> str:
    """Digest all that goes into an environment."""
    parts = [sys.version, sys.base_prefix, EXTRAS, json.dumps(constraints(version))]
    parts.append((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def misfits(version: str, installed: dict[str, str]) -> list[str]:
    """Name the installed packages that are not what is pinned.

    Args:
        version: the version of transformers.
        installed: canonical name -> version.
    """
    wanted, found = constraints(version), []
    for name, is_there in installed.items():
        if name in OURS:
            continue
        if name in wanted and is_there.split("+")[0] != wanted[name]:
            found.append(f"{name} {is_there} is installed, {wanted[name]} is pinned")
        elif name not in wanted and version != newest():  # .venv may hold a user's own tools
            found.append(f"{name} {is_there} is installed, and constraints do not pin it")
    return found


def packages_of(interpreter: Path) -> dict[str, str]:
    """List what the environment of an interpreter holds, by canonical name."""
    command = [str(interpreter), "-m", "pip", "list", "--format=json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {canonicalize_name(p["name"]): p["version"] for p in json.loads(done.stdout)}


def installed_packages(version: str) -> dict[str, str]:
    """List what a version's environment holds, by canonical name."""
    return packages_of(python(version))


def write_pins(path: Path, pins: dict[str, str]) -> None:
    """Write a constraints file for pip."""
    text = "".join(f"{name}=={version}\n" for name, version in pins.items())
    path.write_text(text, encoding="utf-8")


def install(version: str) -> Step:
    """Make a version's environment unless it is there, and look at what it holds."""
    log, start = log_of(version, "environment"), time.monotonic()
    folder, said = ENVIRONMENTS / version, "there"
    stamp = folder / "installed.sha256"
    own = version != newest()
    if own and not (stamp.exists() and stamp.read_text(encoding="utf-8") == ingredients(version)):
        said = "made"
        stamp.unlink(missing_ok=True)
        if run([sys.executable, "-m", "venv", "--clear", folder], log):
            return Step(False, "python -m venv failed", time.monotonic() - start, log)
        wanted = folder / "constraints.txt"
        write_pins(wanted, constraints(version))
        if run(
            [python(version), "-m", "pip", "install", "--no-compile", "-c", wanted, "-e", EXTRAS],
            log,
        ):
            return Step(False, "pip install failed", time.monotonic() - start, log)
    wrong = misfits(version, installed_packages(version))
    if wrong:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            print(*wrong, sep="\n", file=file)
        return Step(False, "not what is pinned", time.monotonic() - start, log)
    if own:
        stamp.write_text(ingredients(version), encoding="utf-8")
    return Step(True, said, time.monotonic() - start, log)


def pytest_said(text: str) -> str | None:
    """Return what pytest's last closing line counts, such as `764 passed, 1 skipped`.

    Args:
        text: all that pytest printed.

    Returns:
        `None` if there is no such line: then pytest never came to its end.
    """
    found = CLOSING.findall(text)
    return found[-1] if found else None


def check(version: str, name: str) -> Step:
    """Run one of the `STEPS` in a version's environment."""
    return carry_out(version, name, [python(version), *STEPS[name]])


def carry_out(
    who: str,
    name: str,
    command: Sequence[str | Path],
    changes: Mapping[str, str | None] | None = None,
) -> Step:
    """Run a program that ends as pytest does.

    Args:
        who: whose line of the table this is for.
        name: of the step.
        command: the program and its arguments.
        changes: environment variables, as for `run`.
    """
    log, start = log_of(who, name), time.monotonic()
    code = run(command, log, changes)
    said = pytest_said(log.read_text(encoding="utf-8", errors="replace"))
    seconds = time.monotonic() - start
    if said is None:
        return Step(False, f"stopped with exit code {code}", seconds, log)
    return Step(code == 0, said, seconds, log)


def table(
    results: dict[str, dict[str, Step]],
    what: str = "transformers",
    names: Sequence[str] = ("environment", *STEPS),
) -> str:
    """Lay the results out, a line a version.

    Args:
        results: version -> step -> what it gave.
        what: the head of the first column.
        names: the steps, a column each.
    """
    rows = [[what, *names, "seconds"]]
    for version, steps in results.items():
        said = []
        for name in names:
            step = steps.get(name, Step(False, "not run"))
            said.append(f"{'' if step.passed else 'FAILED: '}{step.said} ({step.seconds:.0f} s)")
        rows.append([version, *said, f"{sum(step.seconds for step in steps.values()):.0f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def failures(results: dict[str, dict[str, Step]]) -> list[tuple[str, str, Step]]:
    """List the steps that failed: version, name, step."""
    return [
        (version, name, step)
        for version, steps in results.items()
        for name, step in steps.items()
        if not step.passed
    ]


def show_failures(results: dict[str, dict[str, Step]], what: str = "transformers") -> bool:
    """Print the end of the log of each step that failed; say whether there is one."""
    failed = failures(results)
    for version, name, step in failed:
        print(f"\n==> {what} {version}, {name}: {step.said}; the end of {step.log}:")
        if step.log is not None and step.log.exists():
            print(
                *step.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:],
                sep="\n",
            )
    return bool(failed)


def tell(version: str, name: str, step: Step) -> Step:
    """Print how a step ended."""
    word = "" if step.passed else "FAILED: "
    print(f"    {version:8} {name}: {word}{step.said} ({step.seconds:.0f} s)", flush=True)
    return step


def test(version: str) -> dict[str, Step]:
    """Do all that is to be done for one version; nothing runs in an environment that failed."""
    print(f"==> transformers {version}: environment, then {', then '.join(STEPS)}", flush=True)
    steps = {"environment": tell(version, "environment", install(version))}
    for name in STEPS if steps["environment"].passed else ():
        steps[name] = tell(version, name, check(version, name))
    return steps


def record(version: str) -> dict[str, Step]:
    """Write down what one version does, and what it prints."""
    steps = {"environment": tell(version, "environment", install(version))}
    for name, program in RECORDERS.items() if steps["environment"].passed else ():
        log, start = log_of(version, name), time.monotonic()
        code = run([python(version), program], log)
        step = Step(code == 0, f"exit code {code}", time.monotonic() - start, log)
        steps[name] = tell(version, name, step)
    return steps


def main(words: list[str]) -> int:
    """Test the chosen versions one after the other; return 1 if anything failed."""
    here = importlib.metadata.version("transformers")
    if here != newest():
        print(
            f"{sys.executable} holds transformers {here}, constraints.txt pins {newest()}: "
            "run `make install`, and start this with .venv/bin/python"
        )
        return 2
    recording = words == ["--record"]
    try:
        wanted = chosen([] if recording else words)
    except ValueError as error:
        print(error)
        return 2
    print(f"Logs: {LOGS.relative_to(ROOT)}/", flush=True)
    results = {version: (record if recording else test)(version) for version in wanted}
    failed = show_failures(results)
    if not recording:
        print("", table(results), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
