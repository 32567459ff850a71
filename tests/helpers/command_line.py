"""The command line, run in this process or in one of its own."""

import json
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


def python(*words, root, **environment):
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", **environment}
    words = [sys.executable, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, env=environment)


def command(*arguments, root, **environment):
    return python("-m", "clipnotes", *arguments, root=root, **environment)


SEVERAL = """
import json, sys
from clipnotes.cli import app
for words in json.loads(sys.argv[1]):
    app(words, prog_name="clipnotes", standalone_mode=False)
    print(end="\\0", flush=True)
"""


def commands(*several, root, **environment):
    """Run commands in one process: what it said in the end, and what each wrote to stdout."""
    words = json.dumps([[str(one) for one in arguments] for arguments in several])
    done = python("-c", SEVERAL, words, root=root, **environment)
    return done, done.stdout.split("\0")[:-1]
