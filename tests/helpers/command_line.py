"""The command line, run in this process or in one of its own."""

import os
import re
import subprocess
import sys

from typer.testing import CliRunner

from clipnotes import cli


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


def refused(words, *arguments):
    """It fails with one clear line, on stderr."""
    result = run(*arguments)
    assert result.exit_code == 1 and result.stdout == ""
    *others, line = result.stderr.splitlines()
    assert line.startswith("clipnotes: ") and re.search(words, line), result.stderr
    assert not any("Traceback" in other for other in others)
    return result


def command(*arguments, root, **environment):
    python = [sys.executable, "-m", "clipnotes", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(python, capture_output=True, text=True, env=environment)
