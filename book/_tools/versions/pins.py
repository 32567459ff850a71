"""The supported versions of transformers, and the exact packages that go with each.

    python book/_tools versions.pins VERSION   compare what is installed here with the pins
    python book/_tools versions.pins moved     list what is not as constraints.txt pins it

The newest version is the pin in `constraints.txt`, and each older one has a file in `constraints/`
with the pins in which it differs. `noxfile.py` makes an environment for each of them.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from _tools import ROOT

PINS = ROOT / "constraints.txt"
DIFFERENCES = ROOT / "constraints"
OURS = {"pip", "clipnotes-book"}


def read_pins(path: Path) -> dict[str, str]:
    """Read a constraints file, a pin a line: canonical name -> version."""
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pins = [Requirement(line) for line in lines if line]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


def write_pins(path: Path, pins: dict[str, str]) -> None:
    """Write a constraints file for pip."""
    text = "".join(f"{name}=={version}\n" for name, version in pins.items())
    path.write_text(text, encoding="utf-8")


def newest() -> str:
    """Return the version that the book is built with."""
    return read_pins(PINS)["transformers"]


def versions() -> list[str]:
    """List the supported versions, oldest first."""
    return [*sorted((file.stem for file in DIFFERENCES.glob("*.txt")), key=Version), newest()]


def constraints(version: str) -> dict[str, str]:
    """Return every pin of a version's environment: those of the newest, where it has no other."""
    own = {} if version == newest() else read_pins(DIFFERENCES / f"{version}.txt")
    return read_pins(PINS) | own


def packages_of(interpreter: Path) -> dict[str, str]:
    """List what the environment of an interpreter holds, by canonical name."""
    command = [str(interpreter), "-m", "pip", "list", "--format=json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {canonicalize_name(p["name"]): p["version"] for p in json.loads(done.stdout)}


def installed() -> dict[str, str]:
    """List what the environment of this program holds: canonical name -> public version."""
    return {
        canonicalize_name(package.name): package.version.split("+")[0]
        for package in importlib.metadata.distributions()
    }


def misfits(version: str, packages: dict[str, str]) -> list[str]:
    """Name the installed packages that are not what is pinned for a version."""
    wanted, wrong = constraints(version), []
    for name, is_there in packages.items():
        if name in OURS:
            continue
        if name in wanted and is_there != wanted[name]:
            wrong.append(f"{name} {is_there} is installed, {wanted[name]} is pinned")
        elif name not in wanted and version != newest():  # .venv may hold a user's own tools
            wrong.append(f"{name} {is_there} is installed, and constraints do not pin it")
    return wrong


def moved(packages: dict[str, str]) -> list[str]:
    """Lay out the packages that are not as `constraints.txt` pins them, a line each."""
    pins = read_pins(PINS)
    rows = [("package", "pinned", "installed")] + [
        (name, pins.get(name, "-"), version)
        for name, version in sorted(packages.items())
        if name not in OURS and pins.get(name) != version
    ]
    first, second, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"{name:{first}}  {pinned:{second}}  {here}" for name, pinned, here in rows]


def main(words: list[str]) -> int:
    """Say what does not fit; return 1 if something does not."""
    if words == ["moved"]:
        print(*moved(installed()), sep="\n")
        return 0
    [version] = words
    wrong = misfits(version, installed())
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
