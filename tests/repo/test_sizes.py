"""A file can be read in one sitting, and a function on one screen."""

import ast

import pytest

from repository import ROOT

FILE, FUNCTION = 320, 60  # lines; of a function without its docstring
FOLDERS = ("clipnotes", "book", "tests", "benchmarks", "training")


def too_long(name, source):
    """Name what is over a limit."""
    if source.count("\n") > FILE:
        yield f"{name} has {source.count(chr(10))} lines, and a file {FILE} at most"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node, clean=False) or ""
            lines = node.end_lineno - node.lineno + 1 - (text.count("\n") + 1) * bool(text)
            if lines > FUNCTION:
                yield f"{name}: {node.name} has {lines} lines, and a function {FUNCTION} at most"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_and_no_function_is_too_long(folder):
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    for path in found:
        name = str(path.relative_to(ROOT))
        assert not list(too_long(name, path.read_text(encoding="utf-8")))


def test_what_is_too_long_is_named():
    long = "def long():\n" + "    x = 1\n" * 60
    (said,) = too_long("a.py", long)
    assert said == "a.py: long has 61 lines, and a function 60 at most"
    documented = 'def long():\n    """Say.\n\n    More.\n    """\n' + "    x = 1\n" * 59
    assert not list(too_long("a.py", documented))
    (said,) = too_long("a.py", "x = 1\n" * 321)
    assert said == "a.py has 321 lines, and a file 320 at most"
