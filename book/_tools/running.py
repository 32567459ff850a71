"""Run notebooks under `pytest --nbmake`, on copies and without a network."""

import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode

from _tools import BUILD

TOOLS = Path(__file__).resolve().parent
WORKERS = 2
SECONDS_A_CELL = 600
#: What nbmake says when no cell has run. Kernels find free ports before they take them, so of many
#: that start at once, one may come too late.
NO_KERNEL = "Kernel died before replying to kernel_info"


def environment() -> dict[str, str]:
    """Build the environment of the kernels: no network, one thread each, nobody's own settings."""
    path = [str(TOOLS / "_offline"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "IPYTHONDIR": str(BUILD / "ipython"),
        "JUPYTER_PLATFORM_DIRS": "1",
        "OMP_NUM_THREADS": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONHASHSEED": "0",
    }


class Ran(NamedTuple):
    """The results of running notebooks."""

    code: int  # pytest's exit code
    passed: dict[str, NotebookNode]  # as they were executed
    failed: dict[str, NotebookNode]  # all others, with the outputs until the failure if known


def run(notebooks: dict[str, NotebookNode]) -> tuple[int, dict[str, NotebookNode]]:
    """Run notebooks; return pytest's exit code, and the executed ones of those that passed."""
    ran = attempt(notebooks)
    return ran.code, ran.passed


def attempt(notebooks: dict[str, NotebookNode], again: bool = True) -> Ran:
    """Run notebooks by name, in this order; with `again`, run those twice that got no kernel."""
    settings = environment()
    Path(settings["IPYTHONDIR"]).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chapters-") as name:
        folder = Path(name)  # not below _build: nbmake takes no notebook from there
        shutil.copy(TOOLS / "_nbmake" / "conftest.py", folder)
        for stem, notebook in notebooks.items():
            nbformat.write(notebook, folder / f"{stem}.ipynb")
        command = [sys.executable, "-m", "pytest", "--nbmake", "--overwrite", "-v", "--color=auto"]
        command += [f"--nbmake-timeout={SECONDS_A_CELL}", "--junitxml=report.xml"]
        command += ["-p", "no:cacheprovider"]
        if len(notebooks) > 1:
            command += ["-n", str(min(WORKERS, len(notebooks))), "--maxschedchunk=1"]
        command += [f"{stem}.ipynb" for stem in notebooks]
        code = subprocess.run(command, cwd=folder, env=settings, check=False).returncode
        if not (folder / "report.xml").exists():
            return Ran(code or 1, {}, dict(notebooks))
        good, not_begun = outcomes(folder / "report.xml")
        read_back = {
            stem: nbformat.read(folder / f"{stem}.ipynb", as_version=4) for stem in notebooks
        }
    passed = {stem: read_back[stem] for stem in good}
    if not_begun and again:
        print(f"==> once more, since no kernel started: {', '.join(not_begun)}", flush=True)
        late = attempt({stem: notebooks[stem] for stem in not_begun}, again=False)
        passed, read_back = passed | late.passed, read_back | late.failed
        code = late.code or int(len(passed) < len(notebooks))
    return Ran(code, passed, {stem: read_back[stem] for stem in notebooks if stem not in passed})


def outcomes(report: Path) -> tuple[list[str], list[str]]:
    """Read pytest's report: which notebooks passed, and which failed before their first cell."""
    passed, not_begun = [], []
    for case in ET.parse(report).iter("testcase"):
        stem = Path(case.attrib["name"]).stem
        said = "".join(case.itertext())
        if not len(case):  # a failure or an error would be a child
            passed.append(stem)
        elif NO_KERNEL in said:
            not_begun.append(stem)
    return passed, not_begun
