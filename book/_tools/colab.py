"""Run every chapter's `.ipynb` as Colab would: alone, in a kernel that does not have the package.

    python book/_tools colab [NAME ...]   all chapters, or those whose name starts with a NAME

An environment in `.colab/` holds what `colab.txt` lists, a part of what Colab brings, and a module
`google.colab`. The first cell installs the package from the repository's address, which git is told
to find in a copy of the working tree. Each notebook has a kernel and an empty folder of its own.

Red if a first cell changes a package that was there, says anything but its one line or takes a
minute, and if a cell of a chapter fails. It needs a package index, which no other test does.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from _tools import ROOT, pairs
from _tools.chapters import code_cells
from _tools.execute import chosen, seconds
from _tools.running import SECONDS_A_CELL
from _tools.snapshot import snapshot
from _tools.versions.pins import constraints, packages_of, read_pins, write_pins

PREINSTALLED = Path(__file__).with_name("colab.txt")
ENVIRONMENT = ROOT / ".colab"
OURS = "clipnotes-book"
SECONDS_TO_INSTALL = 60
#: Python imports a module of this name at start-up.
SITECUSTOMIZE = "import google.colab\n"


def python() -> Path:
    """Return the interpreter of the environment."""
    return ENVIRONMENT / "bin" / "python"


def pins() -> dict[str, str]:
    """Return the versions for the environment: its own, then those tested with its transformers."""
    own = {name: version for name, version in read_pins(PREINSTALLED).items() if version}
    return constraints(own["transformers"]) | own


def installed() -> dict[str, str]:
    """List what the environment holds, by canonical name."""
    return packages_of(python())


def prepare() -> None:
    """Make a fresh environment as Colab's is before a notebook starts."""
    print(f"==> Making {ENVIRONMENT.name}/ with what Colab brings", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], check=True)
    pinned = ENVIRONMENT / "constraints.txt"
    write_pins(pinned, pins())
    command = [str(python()), "-m", "pip", "install", "--quiet", "-c", str(pinned)]
    subprocess.run([*command, "-r", str(PREINSTALLED)], check=True)


def settings(url: str, repository: Path, modules: Path) -> dict[str, str]:
    """Build the kernels' environment: git finds `url` in `repository`, Python has `modules`."""
    (modules / "google" / "colab").mkdir(parents=True)
    (modules / "google" / "colab" / "__init__.py").touch()
    (modules / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    return os.environ | {
        "PYTHONPATH": str(modules),
        "IPYTHONDIR": str(modules / "ipython"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
    }


def said(cell: NotebookNode) -> list[str]:
    """Return what a cell said, without pip's warnings and IPython's advice after `%pip`."""
    text = "".join(output.get("text", "") for output in cell.outputs)
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith(("WARNING: Location", "Note:"))]


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Name the packages that were there before and are not the same now."""
    return [
        f"{name} was {version}, is {after.get(name, 'gone')}"
        for name, version in before.items()
        if after.get(name) != version
    ]


def run(source: Path, environment: dict[str, str]) -> list[str]:
    """Run a notebook from its first cell, and return what is wrong."""
    notebook, before, found = nbformat.read(source, as_version=4), installed(), []
    word = f"clipnotes {before[OURS]} is here already" if OURS in before else "Installed clipnotes"
    first = code_cells(notebook)[0]
    first.metadata["tags"].remove("skip-execution")  # which Colab does not know
    with tempfile.TemporaryDirectory(prefix="colab-") as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=SECONDS_A_CELL, resources=where)
        spec = client.create_kernel_manager().kernel_spec
        assert spec is not None
        spec.argv[0] = str(python())
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            found.append(str(error))
    if len(said(first)) != 1 or not said(first)[0].startswith(word):
        found.append(f"the first cell said {said(first)}")
    took = seconds(nbformat.v4.new_notebook(cells=[first]))
    # On a machine that does other work, all takes longer.
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    if not 0 < took < SECONDS_TO_INSTALL * busy:
        found.append(f"the first cell took {took:.0f} s")
    print(f"    {source.stem}: {' '.join(said(first))} ({took:.0f} s)", flush=True)
    return found + changed(before, installed())


def main(names: list[str]) -> int:
    """Run the notebooks one after the other; return 1 if anything is wrong."""
    sources = chosen(names)
    if not sources:
        return 1
    start = time.monotonic()
    prepare()
    print(f"==> Running {len(sources)} notebooks, each from its first cell", flush=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="colab-repository-") as name:
        repository, modules = Path(name, "repository"), Path(name, "modules")
        repository.mkdir()
        snapshot(repository)
        environment = settings(pairs.repository_url(), repository, modules)
        for source in sources:
            for wrong in run(source.with_suffix(".ipynb"), environment):
                print(f"    FAILED: {wrong}", flush=True)
                found.append(wrong)
    word = f"{len(found)} failures" if found else "all well"
    print(f"==> {word}, {time.monotonic() - start:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
