"""The run with the newest releases: what is held back, what moved, the table, the red result."""

from types import SimpleNamespace

import pytest

import matrix
import newest

PINS = matrix.pins(matrix.PINS)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Logs, environment and copy in a folder of their own; the copy is of one file."""
    monkeypatch.setattr(matrix, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(newest, "FOLDER", tmp_path / "newest")
    monkeypatch.setattr(newest, "TREE", tmp_path / "newest" / "tree")
    monkeypatch.setattr(newest, "PYTHON", tmp_path / "newest" / "environment" / "bin" / "python")
    monkeypatch.setattr(newest, "snapshot", lambda folder: (folder / "copied").touch())
    return tmp_path


def green(who, name, *_):
    return matrix.Step(True, "3 passed", 2)


def test_torch_is_held_unless_told_otherwise():
    assert newest.held("pinned") == {"torch": PINS["torch"]}
    assert newest.held("2.14.1") == {"torch": "2.14.1"}
    assert newest.held("newest") == {}


@pytest.mark.parametrize(("torch", "written"), [("2.14.1", "torch==2.14.1\n"), ("newest", "")])
def test_the_environment_is_made_anew_from_a_copy(elsewhere, monkeypatch, torch, written):
    ran = []
    monkeypatch.setattr(matrix, "run", lambda command, log: ran.append([*map(str, command)]) or 0)
    for _ in range(2):  # what is left of the first is gone
        assert newest.prepare("python3.13", torch).passed
        assert (newest.TREE / "copied").exists() and not (newest.FOLDER / "left").exists()
        (newest.FOLDER / "left").touch()
    venv, pip = ran[:2]
    assert venv[:3] == ["python3.13", "-m", "venv"]
    assert pip[0] == str(newest.PYTHON)
    constraints = newest.FOLDER / "constraints.txt"
    assert pip[pip.index("-c") + 1] == str(constraints)
    assert constraints.read_text(encoding="utf-8") == written
    assert pip[-2:] == ["-e", f"{newest.TREE}[book,test]"]


def test_without_an_environment_nothing_is_installed_or_run(elsewhere, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(matrix, "run", lambda command, log: ran.append(command) or 1)
    monkeypatch.setattr(newest.subprocess, "run", lambda *_, **__: pytest.fail("it went on"))
    assert newest.main([]) == 1
    assert len(ran) == 1  # venv
    head, row = capsys.readouterr().out.splitlines()[-2:]
    assert head.split() == [
        "releases",
        "environment",
        "unit",
        "tests",
        "chapters",
        "book",
        "seconds",
    ]
    assert "FAILED: exit code 1" in row and row.count("FAILED: not run") == 3


def test_the_steps_run_in_the_copy_with_the_new_environment(elsewhere, monkeypatch):
    started = []

    def start(command, cwd, check):
        started.append((command, cwd))
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(matrix, "ROOT", elsewhere)
    monkeypatch.setattr(newest, "prepare", lambda python, torch: green("", ""))
    monkeypatch.setattr(newest.subprocess, "run", start)
    assert newest.main(["--torch", "newest"]) == 1
    command = [str(newest.PYTHON), str(newest.TREE / "book" / "newest.py"), "--inside"]
    assert started == [(command, newest.TREE)]


def test_what_moved_is_named():
    same = PINS | {"torch": f"{PINS['torch']}+cpu", "clipnotes-book": "0.1.0", "pip": "1"}
    assert newest.moved(same) == []
    other = same | {"numpy": "99.0", "stranger": "1.0"}
    del other["resvg-py"]  # of another extra
    expected = [
        ("numpy", PINS["numpy"], "99.0"),
        ("stranger", "-", "1.0"),
    ]
    assert newest.moved(other) == expected
    lines = newest.moves(expected).splitlines()
    assert [line.split() for line in lines] == [
        ["package", "pinned", "newest"],
        *map(list, expected),
    ]
    assert len({line.index(line.split()[1]) for line in lines}) == 1  # below each other


def test_a_red_step_is_in_the_table_with_the_end_of_its_log(elsewhere, monkeypatch, capsys):
    log = elsewhere / "a.log"
    log.write_text("the reason\n")
    red = matrix.Step(False, "1 failed", 3, log)
    monkeypatch.setattr(matrix, "packages_of", lambda python: PINS | {"numpy": "99.0"})
    monkeypatch.setattr(matrix, "carry_out", green)
    monkeypatch.setattr(matrix, "finish", green)
    assert newest.main(["--inside"]) == 0
    assert "FAILED" not in capsys.readouterr().out
    monkeypatch.setattr(
        matrix, "carry_out", lambda who, name, *_: red if name == "unit tests" else green(who, name)
    )
    assert newest.main(["--inside"]) == 1
    said = capsys.readouterr().out
    assert "the reason" in said
    *_, package, _, head, row = said.splitlines()
    assert package.split() == ["numpy", PINS["numpy"], "99.0"]
    assert head.split() == ["releases", "unit", "tests", "chapters", "book", "seconds"]
    assert "FAILED: 1 failed (3 s)" in row and row.count("3 passed (2 s)") == 2
