"""The examination of an installation: everything that can be missing is found, with its cure."""

import importlib
import platform
import shutil

import pytest

from clipnotes import checkpoints, doctor
from repository import ROOT, pyproject


def problems():
    return {one.what: one for one in doctor.examine() if one.problem}


def test_the_needs_are_those_of_the_project():
    project, (python, packages) = pyproject()["project"], doctor.needs()
    assert project["name"] == doctor.PACKAGE
    assert [f"{name}>={least}" for name, least in packages.items()] == project["dependencies"]
    assert project["requires-python"] == f">={python}"


def test_a_checkout_that_is_not_installed_says_so(monkeypatch):
    def missing(name):
        raise doctor.PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    first, last = doctor.examine()
    assert first.problem.startswith("not installed")
    assert first.mend == f"python -m pip install -e {ROOT}"
    assert last.found == "not looked at before the packages are there"


def test_nothing_is_wrong_here(monkeypatch):
    monkeypatch.delenv("CLIPNOTES_MODEL", raising=False)
    found = {one.what: one for one in doctor.examine()}
    assert problems() == {}
    embedded = {"Emoji-CLIP", "Emoji-SigLIP"}
    assert found.keys() == {"python", *doctor.needs()[1], "device", *embedded, "model"}
    assert all("checksums agree" in found[name].found for name in embedded)
    assert "64 pixels in patches of 8, 128 numbers" in found["model"].found


def test_a_package_that_is_missing_or_old_or_broken(monkeypatch):
    real, import_module = doctor.version, importlib.import_module

    def version(name):
        if name == "datasets":
            raise doctor.PackageNotFoundError(name)
        return {"torch": "2.1.9+cpu", "transformers": "4.100.0"}.get(name) or real(name)

    def broken(name):
        if name == "sklearn":
            raise ImportError("libgomp is missing\nmore")
        return import_module(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(importlib, "import_module", broken)
    found = problems()
    assert found.keys() == {"torch", "datasets", "scikit-learn"}
    assert found["datasets"].problem == "not installed"
    assert found["datasets"].mend == 'python -m pip install "datasets>=3.0"'
    assert found["torch"].problem == "older than 2.2"
    assert found["torch"].mend == 'python -m pip install "torch>=2.2" --upgrade'
    assert found["scikit-learn"].problem == "cannot be imported: libgomp is missing"
    assert doctor.examine()[-1].found == "not looked at before the packages are there"


def test_an_old_python_and_a_new_transformers(monkeypatch):
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.7")
    assert problems()["python"].problem == "older than 3.10"
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda n: "6.1" if n == "transformers" else real(n))
    (line,) = (one for one in doctor.examine() if one.what == "transformers")
    assert not line.problem and "newer than what it was tested with" in line.found


def test_a_damaged_model(monkeypatch, tmp_path):
    damaged = tmp_path / "emoji_clip"
    shutil.copytree(checkpoints.EMOJI_CLIP, damaged)
    with open(damaged / "model.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    monkeypatch.setattr(checkpoints, "EMOJI_CLIP", damaged)
    monkeypatch.delenv("CLIPNOTES_MODEL", raising=False)
    found = problems()
    assert found.keys() == {"Emoji-CLIP", "model"}
    assert "is not the file that SHA256SUMS" in found["Emoji-CLIP"].problem
    assert "--force-reinstall" in found["Emoji-CLIP"].mend


@pytest.mark.parametrize(
    ("name", "mend"),
    [("nowhere", "unset CLIPNOTES_MODEL"), ("some/model", "hf download some/model")],
)
def test_a_chosen_model_that_is_not_there(monkeypatch, name, mend):
    monkeypatch.setenv("CLIPNOTES_MODEL", name)
    found = problems()
    assert found.keys() == {"model"}
    assert f"no CLIP model {name!r}" in found["model"].problem and mend in found["model"].mend
