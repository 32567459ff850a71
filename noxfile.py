"""The versions of transformers, and the machines, that the book has to hold on.

    nox -s matrix                   everything on each version of transformers; see `make matrix`
    nox -s matrix-4.49.0            on one of them; `matrix-older`: on all but the newest
    nox -s elsewhere                as each of some other machines would compute; `elsewhere-all`
    nox -s newest                   with the newest release of all that pyproject.toml allows;
                                    of torch only with `-- newest` or `-- VERSION`
    nox -s matrix -- chapters       only that step (`tests`, `chapters`, `record`)

The newest version of transformers is the one in `.venv`, which runs nox too. Each older one has an
environment in `.nox`, made again when something that goes into it changes. A step prints all that
it said when it fails. One that fails stops neither the next one nor the next version.
"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import nox
from nox.command import CommandFailed

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "book"))
from _tools.elsewhere import HOOKS, MODES
from _tools.snapshot import snapshot
from _tools.versions import pins

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["matrix"]

EXTRAS = "[book,test]"
TOOLS = "book/_tools"
#: Tests that no version of transformers and no processor can change: of the programs that make the
#: book, of its built pages, of the repository's files, of what a browser does, of how figures are
#: drawn, of files and folders in disorder, and of how functions of their own are annotated.
SAME_EVERYWHERE = (
    "tests/book",
    "tests/site",
    "tests/repo",
    "tests/explorer/test_explorer_browser.py",
    "tests/explorer/test_explorer_frames.py",
    "tests/trace/test_annotate_beside_others.py",
    "tests/trace/test_annotate_browser.py",
    "tests/trace/test_annotate_generated.py",
    "tests/trace/test_annotate_looks.py",
    "tests/trace/test_annotate_odd.py",
    "tests/trace/test_annotate_remarks.py",
    "tests/plots",
    "tests/pictures",
    "tests/cli/test_cli_messes.py",
)
PYTEST = ("-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "--color=no")
STEPS = {
    "tests": (*PYTEST, *(f"--ignore={path}" for path in SAME_EVERYWHERE)),
    "chapters": (TOOLS, "execute", "--check"),
    "record": (TOOLS, "versions.records"),
}


def run_steps(
    session: nox.Session,
    steps: Mapping[str, tuple[str, ...]],
    variables: Mapping[str, str | None] | None = None,  # None for one that must not be set
) -> None:
    """Run programs of Python one after the other; the session is red if one of them is."""
    python = "python" if session.virtualenv.is_sandboxed else sys.executable
    env = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **(variables or {})}
    red = []
    for name, words in steps.items():
        try:
            output = session.run(python, *words, env=env, silent=True)
        except CommandFailed:
            red.append(name)
        else:
            session.log(f"{name}: {(str(output).strip().splitlines() or ['done'])[-1]}")
    if red:
        session.error(f"red: {', '.join(red)}")


def chosen_steps(session: nox.Session) -> dict[str, tuple[str, ...]]:
    """Return the steps that the words after `--` name, or the usual two."""
    names = session.posargs or ["tests", "chapters"]
    if unknown := sorted(set(names) - set(STEPS)):
        session.error(f"no such step: {' '.join(unknown)}; there are {' '.join(STEPS)}")
    return {name: STEPS[name] for name in names}


def install_pinned(session: nox.Session, version: str) -> None:
    """Fill the environment of an older version, unless all that goes into it is unchanged."""
    folder = Path(session.virtualenv.location)
    stamp, wanted = folder / "ingredients.txt", folder / "constraints.txt"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    ingredients = f"{sys.version}\n{pins.constraints(version)}\n{project}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == ingredients:
        return
    # Made anew, since pip leaves behind what is not needed any more.
    shutil.rmtree(folder)
    session.virtualenv.create()
    pins.write_pins(wanted, pins.constraints(version))
    session.install("--no-compile", "-c", str(wanted), "-e", f".{EXTRAS}")
    session.run("python", TOOLS, "versions.pins", version, silent=True)
    stamp.write_text(ingredients, encoding="utf-8")


def on_version(session: nox.Session) -> None:
    """Run the steps on the version of transformers that the session's name ends with."""
    steps, version = chosen_steps(session), session.name.removeprefix("matrix-")
    if version == pins.newest():
        session.run(sys.executable, TOOLS, "versions.pins", version, silent=True)
    else:
        install_pinned(session, version)
    run_steps(session, steps)


def as_machine(session: nox.Session) -> None:
    """Run the steps as the machine that the session's name ends with would compute them."""
    mode = session.name.removeprefix("elsewhere-")
    run_steps(session, chosen_steps(session), {**MODES[mode], "PYTHONPATH": HOOKS})


def start_members(session: nox.Session) -> None:
    """Start the sessions that belong to this one."""
    for member in GROUPS[session.name]:
        session.notify(member)


GROUPS = {
    "matrix": [f"matrix-{version}" for version in pins.versions()],
    "matrix-older": [f"matrix-{version}" for version in pins.versions()[:-1]],
    "elsewhere": [f"elsewhere-{mode}" for mode in MODES],
}
for name in GROUPS["matrix-older"]:
    nox.session(name=name, reuse_venv=True)(on_version)
nox.session(name=GROUPS["matrix"][-1], venv_backend="none")(on_version)
for name in GROUPS["elsewhere"]:
    nox.session(name=name, venv_backend="none")(as_machine)
for name in GROUPS:
    nox.session(name=name, venv_backend="none")(start_members)


@nox.session(reuse_venv=False)
def newest(session: nox.Session) -> None:
    """Run everything cold, in a copy of the working tree, with the newest releases."""
    # Without a word torch stays at its pin: its newest release is a CUDA build of gigabytes.
    torch = session.posargs[0] if session.posargs else pins.read_pins(pins.PINS)["torch"]
    folder = Path(session.create_tmp()).resolve()  # nox gives it from here on, and we go elsewhere
    wanted, tree = folder / "constraints.txt", folder / "tree"
    pins.write_pins(wanted, {} if torch == "newest" else {"torch": torch})
    tree.mkdir()
    snapshot(tree)
    session.chdir(tree)
    session.install("--no-compile", "-c", str(wanted), "-e", f"{tree}{EXTRAS}")
    steps = {
        "axe-core": ("tests/helpers/axe.py",),
        "tests": (*PYTEST, "--ignore=tests/site"),
        "chapters": (TOOLS, "execute"),
        "book": (TOOLS, "build"),
    }
    try:
        run_steps(session, steps)
    finally:
        session.run("python", TOOLS, "versions.pins", "moved")
