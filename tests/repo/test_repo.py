"""The repository: facts that stand in several files agree, and the package ships what it needs."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from _tools.adopt import text_files
from repository import ROOT, pyproject, repository_url, text_of


def read_yaml(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def requirements():
    """What pyproject.toml asks for, extras included."""
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [r for r in map(Requirement, asked) if r.name != project["name"]]


def constraints():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


# The address


def test_the_copies_of_the_address_are_there():
    url = repository_url()
    assert read_yaml("_config.yml")["repository"]["url"] == url
    assert read_yaml("CITATION.cff")["repository-code"] == url
    assert f"git+{url}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_copy_of_the_address_is_the_same():
    expected = repository_url().removeprefix("https://github.com/")
    names = "|".join({"clipnotes", re.escape(expected.split("/")[1])})
    address = re.compile(rf"github(?:\.com)?/([\w.-]+/(?:{names}))(?![\w-])")
    wrong = [
        f"{path.relative_to(ROOT)}: {found}"
        for path in text_files()
        for found in address.findall(text_of(path))
        if found.removesuffix(".git") != expected
    ]
    assert wrong == []


def test_nobody_is_sent_to_a_stranger_s_package():
    # On PyPI the plain name belongs to another project.
    command = re.compile(r"pip install (?:-\S+ )*['\"]?" + r"clipnotes(?!-book)\b")
    wrong = [
        str(path.relative_to(ROOT))
        for path in text_files()
        if path.name != "CONTRIBUTING.md" and command.search(text_of(path))
    ]
    assert wrong == []


# The versions


def test_the_version_is_the_same_everywhere():
    import clipnotes

    version = pyproject()["project"]["version"]
    assert clipnotes.__version__ == version
    assert str(read_yaml("CITATION.cff")["version"]) == version
    headings = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert headings[0] == "Unreleased"
    assert version in headings


def test_every_dependency_is_pinned_once():
    pins = {canonicalize_name(pin.name): pin for pin in constraints()}
    assert len(pins) == len(constraints())
    for pin in pins.values():
        assert re.fullmatch(r"==[^*,+]+", str(pin.specifier)), f"{pin}: one exact public version"
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not in constraints.txt"
        (pin,) = pins[name].specifier
        assert requirement.specifier.contains(pin.version), f"{requirement} excludes {pin}"


def test_the_package_sets_no_upper_bounds():
    for line in pyproject()["project"]["dependencies"]:
        assert {spec.operator for spec in Requirement(line).specifier} <= {">="}, line


def test_conda_lists_no_package_of_its_own():
    *others, pip = read_yaml("environment.yml")["dependencies"]
    assert [re.split(r"[=<>]", item)[0] for item in others] == ["python", "pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[book,test]"]}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_what_make_starts_keeps_what_python_compiled():
    asked = f"include {ROOT / 'Makefile'}\nshow:\n\t@env\n"
    own = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = ["make", "-s", "-f", "-", "show"]
    done = subprocess.run(command, input=asked, env=own, capture_output=True, text=True, check=True)
    assert "PYTHONUNBUFFERED=1" in done.stdout.splitlines()
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout


# The package


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    """Build it as `pip install git+...` does, from a copy, and compare file lists."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "clipnotes", source / "clipnotes", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-index", "--quiet"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("clipnotes_book-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    ours = {path.relative_to(source).as_posix() for path in (source / "clipnotes").rglob("*")}
    ours = {name for name in ours if (source / name).is_file()}
    assert {name for name in inside if name.startswith("clipnotes/")} == ours
    assert {name.rsplit("/", 1)[-1] for name in inside} >= {"LICENSE", "LICENSE-TEXT"}
