"""Colab: what the install cell decides. `make colab` runs it and the notebooks for real."""

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.v4 import new_code_cell, new_notebook, new_output
from packaging.version import Version

from _tools import colab, pairs, snapshot
from _tools.versions import pins
from repository import ROOT

COLAB = {"torch": "2.13.0+cu126", "numpy": "2.0.2", "transformers": "4.57.6", "pillow": "11.3.0"}


@pytest.fixture
def run_cell(monkeypatch, capsys):
    """Run the install cell among these packages, and return what it said and asked pip for."""

    def run(packages, in_colab, arrives="0.1.0"):
        asked = []

        def version(name):
            if not arrives:
                raise PackageNotFoundError(name)
            return arrives

        def magic(name, line):
            asked.append((name, line.format(**names)))  # as IPython does with braces

        found = [SimpleNamespace(name=n, version=v) for n, v in packages.items()]
        monkeypatch.setattr("importlib.metadata.distributions", lambda: found)
        monkeypatch.setattr("importlib.metadata.version", version)
        monkeypatch.delitem(sys.modules, "google.colab", raising=False)
        if in_colab:
            monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
        names = {"get_ipython": lambda: SimpleNamespace(run_line_magic=magic)}
        exec(TransformerManager().transform_cell(pairs.install_text()), names)
        return capsys.readouterr().out, asked

    return run


def test_on_colab_the_cell_installs_and_pins_what_must_stay(run_cell):
    said, asked = run_cell(COLAB, in_colab=True)
    kept = "torch==2.13.0+cu126 numpy==2.0.2 transformers==4.57.6"
    assert asked == [("pip", f'install --quiet {kept} "git+{pairs.repository_url()}"')]
    assert said == f"Installed clipnotes 0.1.0; kept {kept}.\n"


def test_a_stranger_s_clipnotes_is_not_taken_for_ours(run_cell):
    _, asked = run_cell(COLAB | {"clipnotes": "9.9"}, in_colab=True)
    assert len(asked) == 1


@pytest.mark.parametrize("in_colab", [True, False])
def test_where_the_package_is_there_nothing_happens(run_cell, in_colab):
    said, asked = run_cell(COLAB | {"clipnotes-book": "0.1.0"}, in_colab)
    assert asked == []
    assert said == "clipnotes 0.1.0 is here already; nothing was installed.\n"


def test_elsewhere_the_cell_only_says_what_to_do(run_cell):
    said, asked = run_cell(COLAB, in_colab=False)
    assert asked == []
    assert said.count("\n") == 1
    assert f'%pip install "git+{pairs.repository_url()}"' in said


def test_the_cell_stops_if_pip_could_not_install(run_cell):
    with pytest.raises(PackageNotFoundError):  # %pip itself does not raise
        run_cell(COLAB, in_colab=True, arrives=None)


def test_the_cell_is_a_few_lines():
    assert len(pairs.install_text().splitlines()) <= 15


# The program


def test_the_environment_could_show_an_upgrade():
    wanted = colab.pins()
    for name in ("transformers", "numpy"):
        assert Version(wanted[name]) < Version(pins.read_pins(pins.PINS)[name])
    assert wanted["huggingface-hub"] == pins.constraints(wanted["transformers"])["huggingface-hub"]


def test_a_package_that_changed_or_went_is_named():
    before = {"torch": "2.13.0", "numpy": "2.3.5", "tqdm": "4"}
    after = {"torch": "2.13.0", "numpy": "2.4.6", "clipnotes-book": "0.1.0"}
    assert colab.changed(before, after) == ["numpy was 2.3.5, is 2.4.6", "tqdm was 4, is gone"]
    assert colab.changed(before, before) == []


def test_what_the_cell_did_not_say_itself_is_left_out():
    lines = ["WARNING: Location 'x' is ignored", "Installed a", "Note: you may need to restart", ""]
    outputs = [new_output("stream", text="\n".join(lines)), new_output("stream", text="ERROR: b")]
    assert colab.said(new_code_cell("", outputs=outputs)) == ["Installed a", "ERROR: b"]


def test_the_snapshot_is_the_working_tree_without_what_git_ignores(tmp_path, monkeypatch):
    tree, copy = tmp_path / "tree", tmp_path / "copy"
    for folder in (tree / "sub", copy):
        folder.mkdir(parents=True)
    snapshot.git(tree, "init", "--quiet")
    for name, text in {".gitignore": "built\n", "sub/new": "1", "built": "2", "old": "3"}.items():
        (tree / name).write_text(text, encoding="utf-8")
    snapshot.git(tree, "add", "old")
    (tree / "old").unlink()
    monkeypatch.setattr(snapshot, "ROOT", tree)
    snapshot.snapshot(copy)
    assert snapshot.git(copy, "ls-files").split() == [".gitignore", "sub/new"]
    assert snapshot.git(copy, "status", "--short") == ""


def test_the_kernels_find_the_copy_and_nothing_of_the_tree(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    repository, modules = tmp_path / "repository", tmp_path / "modules"
    repository.mkdir()
    (repository / "a").touch()
    snapshot.git(repository, "init", "--quiet")
    snapshot.git(repository, "add", "a")
    snapshot.git(repository, "commit", "--quiet", "--message", "a")
    environment = colab.settings("https://example.org/a/b", repository, modules)
    command = ["git", "ls-remote", "https://example.org/a/b", "HEAD"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == snapshot.git(repository, "rev-parse", "HEAD").strip()
    code = "import json, sys; print(json.dumps(['google.colab' in sys.modules, sys.path]))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    loaded, path = json.loads(done.stdout)
    assert loaded
    assert str(ROOT) not in [os.path.abspath(folder) for folder in path if folder]


@pytest.fixture
def run_notebook(tmp_path, monkeypatch):
    """Run a notebook of these cells with this interpreter, among packages that are made up."""
    monkeypatch.setattr(colab, "python", lambda: Path(sys.executable))

    def run(first, *others, before=COLAB, after=COLAB):
        lists = iter([before, after])
        monkeypatch.setattr(colab, "installed", lambda: next(lists))
        tags = {"tags": ["remove-cell", "skip-execution"]}
        cells = [new_code_cell(first, metadata=tags), *map(new_code_cell, others)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        path = tmp_path / "01-a.ipynb"
        nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
        return colab.run(path, dict(os.environ))

    return run


def test_a_notebook_that_installs_and_runs_is_fine(run_notebook):
    empty = "import os\nassert os.listdir() == []"
    assert run_notebook("print('Installed clipnotes 1; kept torch')", empty) == []
    there = COLAB | {"clipnotes-book": "1"}
    said = "print('clipnotes 1 is here already; nothing was installed.')"
    assert run_notebook(said, before=there, after=there) == []


def test_what_is_wrong_with_a_notebook_is_named(run_notebook):
    (failed,) = run_notebook("print('Installed clipnotes')", "1 / 0")
    assert "ZeroDivisionError" in failed
    (more,) = run_notebook("print('Installed clipnotes')\nprint('Restart')")
    assert more == "the first cell said ['Installed clipnotes', 'Restart']"
    (nothing,) = run_notebook("print('clipnotes 1 is here already')")  # and it was not
    assert nothing.startswith("the first cell said")
    newer = COLAB | {"numpy": "9"}
    assert run_notebook("print('Installed clipnotes')", after=newer) == ["numpy was 2.0.2, is 9"]


def test_a_slow_installation_is_named(run_notebook, monkeypatch):
    monkeypatch.setattr(colab, "SECONDS_TO_INSTALL", 0)
    (slow,) = run_notebook("print('Installed clipnotes')")
    assert slow.startswith("the first cell took")
