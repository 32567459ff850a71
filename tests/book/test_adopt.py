"""`make adopt`: every copy of the address follows, and the way back leaves no trace."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from _tools import adopt, pairs
from repository import ROOT

# In two parts, or the way back would find it here.
FORK = "https://github.com/" + "Some-One/its_own.book"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fork") / "repository"
    for path in adopt.text_files():
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.relative_to(ROOT))
    return folder


def run(folder, url):
    command = [sys.executable, str(folder / "book" / "_tools"), "adopt", url]
    environment = {"PYTHONPATH": str(folder), "PATH": ""}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd=folder
    )


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_yaml(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_a_fork_takes_over_every_copy_and_gives_it_back(copy):
    before, home = contents(copy), pairs.repository_url()
    done = run(copy, FORK + ".git/")
    assert done.returncode == 0, done.stdout + done.stderr
    written = re.findall(r"^written: (\S+)$", done.stdout, flags=re.MULTILINE)
    assert [name for name in written if not name.endswith(".ipynb")][-1] == "pyproject.toml"
    assert read_yaml(copy / "_config.yml")["repository"]["url"] == FORK
    assert read_yaml(copy / "CITATION.cff")["repository-code"] == FORK
    assert f"git clone {FORK} " in (copy / "README.md").read_text(encoding="utf-8")
    for notebook in sorted((copy / "book" / "chapters").glob("*.ipynb")):
        assert f"git+{FORK}" in notebook.read_text(encoding="utf-8"), notebook.name
    left = [name.as_posix() for name, content in contents(copy).items() if home.encode() in content]
    assert left == []
    done = run(copy, home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {n: c for n, c in contents(copy).items() if n.suffix != ".pyc"} == before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "clipnotes",
        "https://gitlab.com/a/b",
        "http://github.com/a/b",
        "https://github.com/a",
        "https://github.com/a/b/c",
        'https://github.com/a/b"; rm',
        "https://github.com/a/..",
    ],
)
def test_what_is_no_address_changes_nothing(copy, url):
    before = contents(copy)
    done = run(copy, url)
    assert done.returncode == 2
    assert "https://github.com/OWNER/NAME" in done.stdout
    assert repr(url) in done.stdout
    assert contents(copy) == before


def test_a_longer_address_is_another_repository():
    old, new = "https://github.com/" + "a/b", "https://github.com/" + "C/d"
    text = f"{old} {old}.git {old}/issues {old}-c {old}2 {old}."
    assert adopt.rewritten(text, old, new) == (
        f"{new} {new}.git {new}/issues {old}-c {old}2 {new}."
    )
