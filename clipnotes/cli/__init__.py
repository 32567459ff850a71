"""The command line: ``clipnotes doctor``, ``trace``, ``annotate``, ``learn`` and the others.

Results go to stdout, everything else to stderr. Torch and transformers are imported by the commands
that need them, so that ``--help`` comes at once.
"""

from __future__ import annotations

import typer

from clipnotes.cli.annotate import annotate
from clipnotes.cli.ask import ask
from clipnotes.cli.compare import compare
from clipnotes.cli.doctor import doctor
from clipnotes.cli.export import export
from clipnotes.cli.learn import learn
from clipnotes.cli.predict import predict
from clipnotes.cli.push import push
from clipnotes.cli.terminal import clear_errors
from clipnotes.cli.trace import trace

app = typer.Typer(
    help="Look into CLIP, and teach it your own classes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (doctor, trace, annotate, learn, compare, predict, push, export, ask):
    app.command()(clear_errors()(command))
