"""The versions of transformers, their pins, and what is said of an environment that differs."""

import re

import pytest
from packaging.requirements import Requirement

from _tools.versions import pins
from clipnotes.compat import recorded
from repository import pyproject


def test_every_version_is_tested_recorded_and_allowed():
    assert pins.versions() == list(recorded())
    assert len(pins.versions()) >= 4
    (asked,) = (
        r.specifier
        for r in map(Requirement, pyproject()["project"]["dependencies"])
        if r.name == "transformers"
    )
    assert all(asked.contains(version) for version in pins.versions())
    oldest = ".".join(pins.versions()[0].split(".")[:2])
    assert str(asked) == f">={oldest}"


@pytest.mark.parametrize("version", pins.versions())
def test_a_version_s_pins_are_its_own_and_no_more(version):
    every = pins.constraints(version)
    assert every["transformers"] == version
    assert every.keys() >= pins.read_pins(pins.PINS).keys()
    assert all(re.fullmatch(r"[\w.]+", pin) for pin in every.values())
    if version != pins.newest():
        own = pins.read_pins(pins.DIFFERENCES / f"{version}.txt")
        common = pins.read_pins(pins.PINS).items() & own.items()
        assert not common, "these pins are those of constraints.txt"


def test_the_installed_packages_are_compared_with_the_pins():
    oldest, newest = pins.versions()[0], pins.newest()
    right = {"transformers": oldest, "torch": pins.constraints(oldest)["torch"]}
    assert pins.misfits(oldest, right | {"pip": "1"}) == []
    (said,) = pins.misfits(oldest, right | {"transformers": newest})
    assert said == f"transformers {newest} is installed, {oldest} is pinned"
    (said,) = pins.misfits(oldest, right | {"stranger": "1"})
    assert said == "stranger 1 is installed, and constraints do not pin it"
    assert pins.misfits(newest, {"stranger": "1"}) == []  # a user's own tool in .venv


def test_a_file_of_pins_is_read_back_as_it_was_written(tmp_path):
    every = pins.constraints(pins.versions()[0])
    pins.write_pins(tmp_path / "constraints.txt", every)
    assert pins.read_pins(tmp_path / "constraints.txt") == every


def test_what_is_installed_is_named_without_local_suffixes():
    packages = pins.installed()
    assert {"torch", "transformers", "clipnotes-book"} <= packages.keys()
    assert not any("+" in version for version in packages.values())


def test_a_misfit_is_an_exit_code(monkeypatch, capsys):
    oldest = pins.versions()[0]
    monkeypatch.setattr(pins, "installed", lambda: {"transformers": oldest})
    assert pins.main([oldest]) == 0
    assert pins.main([pins.newest()]) == 1
    assert f"transformers {oldest} is installed" in capsys.readouterr().out


def test_what_moved_is_named():
    same = pins.read_pins(pins.PINS) | {"clipnotes-book": "0.1.0", "pip": "1"}
    head = ["package", "pinned", "installed"]
    assert [line.split() for line in pins.moved(same)] == [head]
    other = same | {"numpy": "99.0", "stranger": "1.0"}
    del other["nox"]  # of another extra
    lines = pins.moved(other)
    expected = [["numpy", same["numpy"], "99.0"], ["stranger", "-", "1.0"]]
    assert [line.split() for line in lines] == [head, *expected]
    assert len({line.index(line.split()[1]) for line in lines}) == 1  # below each other
