"""The list of the programs that make the book."""

import subprocess
import sys

from repository import ROOT


def tools(*words):
    command = [sys.executable, "book/_tools", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_every_program_is_listed_with_what_it_does():
    listed = tools()
    assert listed.returncode == 0
    names = [line.split()[0] for line in listed.stdout.splitlines() if line.startswith("  ")]
    assert {"build", "execute", "pairs", "versions.records"} <= {*names}
    assert "rooms" not in names, "it starts nothing"


def test_a_program_that_is_not_there_is_named_beside_those_that_are():
    done = tools("exceute", "01")
    assert done.returncode == 1
    first, *others = done.stdout.splitlines()
    assert first == "no program 'exceute'"
    assert any(line.startswith("  execute ") for line in others)
