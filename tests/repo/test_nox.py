"""The sessions of noxfile.py: which there are, what they run, and that red is red."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from nox.command import CommandFailed

import noxfile
from _tools.elsewhere import HOOKS, MODES
from _tools.versions import pins
from repository import ROOT

OLDEST = pins.versions()[0]
OLDER = {"matrix": pins.versions(), "matrix-older": pins.versions()[:-1]}
#: Stands for the program that runs the chapters.
EXECUTE = """
import os, sys
print("MKL_CBWR", os.environ.get("MKL_CBWR"), "PYTHONPATH", os.environ["PYTHONPATH"])
print("threads", os.environ["OMP_NUM_THREADS"], os.environ.get("CLIPNOTES_THREADS"), sys.argv[1:])

if __name__ == "__main__":
    sys.exit(os.environ.get("CLIPNOTES_THREADS") == "4" and "the reason")
"""


def nox(folder, *words):
    """Run nox on a folder's noxfile: its exit code, and all that it says."""
    command = [sys.executable, "-m", "nox", "--no-color", "-f", str(folder / "noxfile.py"), *words]
    env = {**os.environ, "MKL_CBWR": "AVX2"}  # somebody's own
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The repository's noxfile beside one test, and a program that only says how it was started."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copy(ROOT / "noxfile.py", folder)
    shutil.copytree(ROOT / "constraints", folder / "constraints")
    shutil.copy(ROOT / "constraints.txt", folder)
    # pytest would look for settings further up, and the folder for temporary files can be anywhere.
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "book").mkdir()
    shutil.copytree(ROOT / "book" / "_tools", folder / "book" / "_tools")
    (folder / "book" / "_tools" / "execute.py").write_text(EXECUTE)
    for name in ("tests", "tests/book"):
        (folder / name).mkdir()
        (folder / name / "test_one.py").write_text(f"def test_one(): print('ran in {name}')\n")
    return folder


def test_there_is_a_session_for_each_version_and_each_machine():
    code, said = nox(ROOT, "--list")
    assert code == 0
    names = set(re.findall(r"^[*-] (\S+)", said, flags=re.MULTILINE))
    versions = {f"matrix-{version}" for version in pins.versions()}
    modes = {f"elsewhere-{mode}" for mode in MODES}
    assert names == versions | modes | {"matrix", "matrix-older", "elsewhere", "newest"}
    code, said = nox(ROOT, "-s", "matrix-4.48.0")
    assert code != 0
    assert "matrix-4.48.0" in said


def test_what_no_version_can_change_is_left_out_by_folders_that_are_there():
    assert all((ROOT / path).exists() for path in noxfile.SAME_EVERYWHERE)
    assert not any(path.startswith("tests/versions") for path in noxfile.SAME_EVERYWHERE)


def test_a_step_runs_under_the_settings_of_its_machine(small):
    code, said = nox(
        small, "-v", "-s", "elsewhere-offsets", "elsewhere-one-thread", "--", "chapters"
    )
    assert code == 0, said
    assert "chapters: threads 1 1 ['--check']" in said
    assert "chapters: threads 1 None ['--check']" in said


def test_red_stops_nothing_and_is_told_in_the_end(small):
    code, said = nox(small, "-s", "elsewhere-all", "elsewhere-one-thread")
    assert code == 1
    assert said.count("the reason") == 1
    assert f"MKL_CBWR None PYTHONPATH {small / 'book' / '_tools' / '_offline'}" in said
    assert said.count("tests: 1 passed") == 2  # tests/book is the same everywhere
    assert "Session elsewhere-all aborted: red: chapters" in said, said
    assert "Session elsewhere-one-thread was successful" in said


@pytest.mark.parametrize("name", noxfile.GROUPS)
def test_a_group_starts_its_members(name):
    started = []
    noxfile.start_members(SimpleNamespace(name=name, notify=started.append))
    kind = name.removesuffix("-older")
    assert started == [f"{kind}-{one}" for one in (MODES if kind == "elsewhere" else OLDER[name])]


def test_a_step_that_is_not_there_is_named(small):
    code, said = nox(small, "-s", "elsewhere-all", "--", "chaptres")
    assert code == 1
    assert "no such step: chaptres; there are tests chapters record" in said


class Session(SimpleNamespace):
    """Writes down what a session of nox would do in an environment."""

    def __init__(self, folder, posargs=()):
        super().__init__(folder=folder, posargs=list(posargs), done=[], broken=False)
        self.virtualenv = SimpleNamespace(
            location=str(folder), is_sandboxed=True, create=lambda: folder.mkdir(parents=True)
        )
        self.virtualenv.create()

    def create_tmp(self):
        (self.folder / "tmp").mkdir()
        return os.path.relpath(self.folder / "tmp")  # as nox does

    def install(self, *words):
        constraints = Path(words[words.index("-c") + 1])
        self.done.append(("install", words[-1], pins.read_pins(constraints)))

    def run(self, *words, **options):
        self.done.append(("run", *words))
        if self.broken:
            raise CommandFailed
        return "done"

    def chdir(self, folder):
        os.chdir(folder)
        self.done.append(("chdir", folder))

    def log(self, text):
        pass

    def error(self, text):
        raise CommandFailed(text)


def test_an_environment_is_made_again_when_something_in_it_changes(tmp_path, monkeypatch):
    session = Session(tmp_path / "environment")
    noxfile.install_pinned(session, OLDEST)
    installed = ("install", ".[book,test]", pins.constraints(OLDEST))
    looked_at = ("run", "python", "book/_tools", "versions.pins", OLDEST)
    assert session.done == [installed, looked_at]
    (session.folder / "left").touch()
    noxfile.install_pinned(session, OLDEST)
    assert len(session.done) == 2 and (session.folder / "left").exists()
    monkeypatch.setattr(noxfile, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("more")
    noxfile.install_pinned(session, OLDEST)
    assert session.done == [installed, looked_at] * 2
    assert not (session.folder / "left").exists()


def test_an_environment_that_is_not_as_pinned_is_red_and_not_kept(tmp_path):
    session = Session(tmp_path / "environment")
    session.broken = True
    for _ in range(2):
        with pytest.raises(CommandFailed):
            noxfile.install_pinned(session, OLDEST)
    assert [word for word, *_ in session.done] == ["install", "run"] * 2


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ([], {"torch": pins.read_pins(pins.PINS)["torch"]}),
        (["2.14.1"], {"torch": "2.14.1"}),
        (["newest"], {}),
    ],
)
def test_the_newest_releases_are_tried_in_a_copy_and_torch_is_held(
    tmp_path, monkeypatch, words, held
):
    monkeypatch.chdir(tmp_path)  # and back, in the end
    monkeypatch.setattr(noxfile, "snapshot", lambda folder: (folder / "copied").touch())
    session, tree = Session(tmp_path / "environment", words), tmp_path / "environment/tmp/tree"
    noxfile.newest.func(session)
    assert (tree / "copied").exists()
    assert session.done[:2] == [("chdir", tree), ("install", f"{tree}[book,test]", held)]
    axe, tests, *programs = [words for _, _, *words in session.done[2:]]
    assert axe == ["tests/helpers/axe.py"]
    assert tests[:2] == ["-m", "pytest"]
    assert [words[1:] for words in programs] == [["execute"], ["build"], ["versions.pins", "moved"]]
    session = Session(tmp_path / "other")
    session.broken = True
    with pytest.raises(CommandFailed):
        noxfile.newest.func(session)
    assert len(session.done) == 2 + 5  # the table of what moved, too


def test_the_hooks_are_where_python_looks_for_them():
    assert (Path(HOOKS) / "sitecustomize.py").exists()
