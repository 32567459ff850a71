"""The runs on all versions of transformers: the choice, the pins, the table, the red result."""

import logging
import re
import sys
import warnings

import conftest
import pytest
from packaging.requirements import Requirement

import matrix
import pairs
import versions
from clipnotes.compat import recorded
from repository import ROOT, pyproject, text_of

CLOSED = "===== 3 passed in 0.10s =====\n"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Logs and environments in a folder of their own."""
    monkeypatch.setattr(matrix, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(matrix, "ENVIRONMENTS", tmp_path / "environments")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


# The versions and their pins


def test_every_version_is_tested_recorded_and_allowed():
    assert matrix.versions() == list(recorded())
    assert len(matrix.versions()) >= 4
    (asked,) = (
        r.specifier
        for r in map(Requirement, pyproject()["project"]["dependencies"])
        if r.name == "transformers"
    )
    assert all(asked.contains(version) for version in matrix.versions())
    oldest = ".".join(matrix.versions()[0].split(".")[:2])
    assert str(asked) == f">={oldest}"


@pytest.mark.parametrize("version", matrix.versions())
def test_a_version_s_pins_are_its_own_and_no_more(version):
    pins = matrix.constraints(version)
    assert pins["transformers"] == version
    assert pins.keys() >= matrix.pins(matrix.PINS).keys()
    assert all(re.fullmatch(r"[\w.]+", pin) for pin in pins.values())
    if version != matrix.newest():
        own = matrix.pins(matrix.DIFFERENCES / f"{version}.txt")
        common = matrix.pins(matrix.PINS).items() & own.items()
        assert not common, "these pins are those of constraints.txt"


def test_the_installed_packages_are_compared_with_the_pins():
    oldest, newest = matrix.versions()[0], matrix.newest()
    right = {"transformers": oldest, "torch": matrix.constraints(oldest)["torch"] + "+cpu"}
    assert matrix.misfits(oldest, right | {"pip": "1"}) == []
    (said,) = matrix.misfits(oldest, right | {"transformers": newest})
    assert said == f"transformers {newest} is installed, {oldest} is pinned"
    (said,) = matrix.misfits(oldest, right | {"stranger": "1"})
    assert said == "stranger 1 is installed, and constraints do not pin it"
    assert matrix.misfits(newest, {"stranger": "1"}) == []  # a user's own tool in .venv


def test_versions_are_chosen():
    every = matrix.versions()
    assert matrix.chosen([]) == every
    assert matrix.chosen(["older"]) == every[:-1]
    assert matrix.chosen([every[-1], every[0]]) == [every[0], every[-1]]
    assert matrix.chosen(["older", every[-1]]) == every


def test_an_unknown_version_is_named(capsys, monkeypatch):
    monkeypatch.setattr(matrix.importlib.metadata, "version", lambda name: matrix.newest())
    assert matrix.main(["4.48.0", "old"]) == 2
    said = capsys.readouterr().out
    assert "no such version: 4.48.0 old" in said
    assert " ".join(matrix.versions()) in said


def test_another_python_than_that_of_venv_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(matrix.importlib.metadata, "version", lambda name: "4.0.0")
    assert matrix.main([]) == 2
    assert "make install" in capsys.readouterr().out


# The steps


def test_an_environment_is_made_again_when_something_in_it_changes(elsewhere, monkeypatch):
    version, made = matrix.versions()[0], []

    def install(command, log):
        made.append("venv" if "venv" in command else "pip")
        (matrix.ENVIRONMENTS / version).mkdir(parents=True, exist_ok=True)
        return 0

    monkeypatch.setattr(matrix, "run", install)
    monkeypatch.setattr(matrix, "installed_packages", lambda version: {"transformers": version})
    assert matrix.install(version).said == "made"
    assert made == ["venv", "pip"]
    assert matrix.install(version).said == "there"
    assert made == ["venv", "pip"]
    (elsewhere / "pyproject.toml").write_text("more")
    assert matrix.install(version).said == "made"
    assert matrix.install(matrix.newest()).said == "there"
    assert made == ["venv", "pip"] * 2


def test_an_environment_that_is_not_as_pinned_is_red_and_not_kept(elsewhere, monkeypatch):
    version = matrix.versions()[0]

    def install(command, log):
        (matrix.ENVIRONMENTS / version).mkdir(parents=True, exist_ok=True)
        return 0

    monkeypatch.setattr(matrix, "run", install)
    monkeypatch.setattr(matrix, "installed_packages", lambda version: {"torch": "0.1"})
    for _ in range(2):
        step = matrix.install(version)
        assert (step.passed, step.said) == (False, "not what is pinned")
        assert "torch 0.1 is installed" in step.log.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("program", "passed", "said"),
    [
        (f"print({CLOSED!r})", True, "3 passed"),
        (
            "print('== 1 failed, 2 passed in 70.1s (0:01:10) ==')\n1 / 0",
            False,
            "1 failed, 2 passed",
        ),
        (f"print({CLOSED!r})\n1 / 0", False, "3 passed"),
        ("print('no closing line')", False, "stopped with exit code 0"),
    ],
)
def test_a_step_is_green_only_if_pytest_says_so_and_ends_well(
    elsewhere, monkeypatch, program, passed, said
):
    monkeypatch.setattr(matrix, "python", lambda version: sys.executable)
    monkeypatch.setitem(matrix.STEPS, "chapters", ["-c", program])
    step = matrix.check("1.0", "chapters")
    assert (step.passed, step.said) == (passed, said)


def test_a_failed_step_is_in_the_table_and_in_the_exit_code(elsewhere, monkeypatch, capsys):
    first, second, *_ = matrix.versions()
    log = elsewhere / "a.log"
    log.write_text("the reason\n")
    good, bad = matrix.Step(True, "3 passed", 2), matrix.Step(False, "1 failed", 3, log)
    monkeypatch.setattr(matrix.importlib.metadata, "version", lambda name: matrix.newest())
    monkeypatch.setattr(matrix, "install", lambda version: good if version == first else bad)
    monkeypatch.setattr(matrix, "check", lambda version, name: good)
    assert matrix.main([first]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert matrix.main([first, second]) == 1
    said = capsys.readouterr().out
    assert "the reason" in said
    head, one, two = said.splitlines()[-3:]
    assert head.split() == ["transformers", "environment", "unit", "tests", "chapters", "seconds"]
    assert one.split("  ")[0] == first and one.split()[-1] == "6"
    assert two.startswith(second) and "FAILED: 1 failed (3 s)" in two
    assert two.count("FAILED: not run") == 2


# The page


def test_the_page_is_what_was_recorded():
    assert versions.main(["--check"]) == 0, "run `make sync`"


def test_a_fact_that_nobody_recorded_is_an_error():
    group = versions.Group("A", "B", (("C", ("layout", "nothing")),))
    with pytest.raises(KeyError, match="nothing is recorded at layout/nothing"):
        versions.section(group, recorded())


def test_differences_are_in_the_table_and_the_rest_below_it():
    group = versions.Group("A", "B", (("C", ("c",)), ("`{}`", ("d",))))
    page = versions.section(group, {"1": {"c": True, "d": {"e": 1}}, "2": {"c": True, "d": {}}})
    assert page.splitlines()[4:] == [
        "| | 1 | 2 |",
        "|---|---|---|",
        "| `e` | `1` | - |",
        "",
        "The same in all of them:",
        "",
        "- C: yes",
    ]


def test_long_answers_get_a_line_each():
    group = versions.Group("A", "B", (("C", ("c",)),))
    long = "an answer of some length"
    page = versions.section(group, {"1": {"c": long}, "2": {"c": long}, "3": {"c": "other"}})
    assert page.splitlines()[4:] == [
        "- C",
        f"  - 1, 2: `{long}`",
        "  - 3: `other`",
    ]


CLAIM = re.compile(
    r"\b(?:transformers|since|until|in|to|from|and|or|before|after|than|of|up to|today's)"
    r"\s+v?(4\.\d\d|5\.\d{1,2})(?:\.\d+)?(?![\w.]*\d|\s*(?:s|x|MB|MiB|%|GB|seconds|times)\b)"
)


def claims(text):
    return set(CLAIM.findall(text))


def test_prose_speaks_of_recorded_versions_only():
    known = {".".join(version.split(".")[:2]) for version in recorded()}
    pages = [*pairs.notebooks(), *(ROOT / "book").glob("*.md"), ROOT / "README.md"]
    pages += (ROOT / "clipnotes").rglob("*.py")
    said = {path.name: claims(text_of(path)) for path in pages}
    assert set().union(*said.values()) == known  # so the search finds something
    assert {name: found - known for name, found in said.items() if found - known} == {}
    assert claims("gone since 5.6, in 4.43 and 4.51.3; 4.30 s") == {"5.6", "4.43", "4.51"}
    assert not any(claims(group.text) for group in versions.GROUPS), "the tables say which"


# Deprecations


def test_the_log_is_watched_for_deprecations(no_deprecations_in_the_log):
    log = logging.getLogger("transformers.models.clip")
    log.warning("the `old` name is deprecated")
    log.warning("an ordinary warning")
    assert no_deprecations_in_the_log.said == ["the `old` name is deprecated"]
    no_deprecations_in_the_log.said.clear()


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning])
def test_deprecation_warnings_are_errors_under_the_newest(category):
    if conftest.STRICT:
        with pytest.raises(category):
            warnings.warn("old", category, stacklevel=1)
    else:
        with pytest.warns(category):
            warnings.warn("old", category, stacklevel=1)
