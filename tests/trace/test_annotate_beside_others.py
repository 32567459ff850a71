"""Annotated source beside others that watch: a debugger, a tracer, a notebook."""

import bdb
import os
import subprocess
import sys
import textwrap

import torch

from annotated import of, shapes
from clipnotes.trace.annotation import annotate


class Debugger(bdb.Bdb):
    def __init__(self):
        super().__init__()
        self.lines = []

    def user_line(self, frame):
        if frame.f_code.co_name == "watched":
            self.lines.append(frame.f_lineno - frame.f_code.co_firstlineno)
        self.set_step()


def watched(x):
    y = x + 1
    return y


def test_a_debugger_goes_on_to_see_every_line():
    debugger = Debugger()
    debugger.reset()
    tracer = sys.gettrace()
    sys.settrace(debugger.trace_dispatch)
    try:
        notes = annotate(watched, torch.ones(2))
        assert sys.gettrace() == debugger.trace_dispatch
        watched(torch.ones(2))
    finally:
        sys.settrace(tracer)
    assert debugger.lines == [1, 2, 1, 2]
    assert shapes(of(notes, "y =")["made"]) == {"y": (2,)}


def test_a_tracer_that_puts_itself_back_is_followed():
    """As coverage's does, which is written in C."""
    lines = []

    def theirs(frame, event, argument):
        if event == "call":
            sys.settrace(theirs)
        if frame.f_code is watched.__code__ and event == "line":
            lines.append(frame.f_lineno - frame.f_code.co_firstlineno)
        return theirs

    tracer = sys.gettrace()
    sys.settrace(theirs)
    try:
        notes = annotate(watched, torch.ones(2))
    finally:
        sys.settrace(tracer)
    assert lines == [1, 2]
    assert shapes(of(notes, "y =")["made"]) == {"y": (2,)}
    assert of(notes, "return")["returned"]["shape"] == [2]


def test_functions_of_a_notebook_are_found(tmp_path, root):
    program = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell("def f(x):\\n    y = x * 2\\n    return y")
        shell.run_cell("import clipnotes; text = str(clipnotes.annotate(f, 3))")
        print(shell.user_ns["text"])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert "y = x * 2  6" in done.stdout, done.stdout
