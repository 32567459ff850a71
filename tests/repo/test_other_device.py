"""Models that are not on the CPU: `on_another_device.py`, in a process of its own.

Once torch has a device that is written in Python, it stays, and asks it about other tests' models.
"""

import subprocess
import sys

from repository import ROOT


def test_everything_runs_on_another_device():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [*command, "tests/prompts/on_another_device.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout
