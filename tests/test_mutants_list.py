"""MUTANTS.md: what it lists is still there, and its numbers agree with each other."""

import ast
import re

from conftest import ROOT

TEXT = (ROOT / "tests" / "MUTANTS.md").read_text(encoding="utf-8")
NUMBERS = re.compile(r"^\| `(clipnotes\.\w+)` \|(.+)\|$", flags=re.MULTILINE)
FILE = re.compile(r"^### `(clipnotes/.+\.py)`$", flags=re.MULTILINE)
SURVIVOR = re.compile(r"^\| `([\w.]+)` \| (\d+) \| (.+?) \| (.+?) \|$", flags=re.MULTILINE)


def functions(path):
    """Names of the functions of a file; those of methods with their class in front."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        before = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        found |= {before + f.name for f in inside if isinstance(f, ast.FunctionDef)}
    return found


def listed():
    """Each file that is listed, with its rows."""
    _, *parts = FILE.split(TEXT)
    return {
        path: SURVIVOR.findall(rows) for path, rows in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_survivor_is_of_a_function_that_is_there():
    assert listed()
    for path, rows in listed().items():
        assert rows, f"{path} has a heading and no row that can be read"
        assert {name for name, *_ in rows} <= functions(path), path


def test_the_numbers_agree():
    table = {name: [int(n) for n in row.split("|")] for name, row in NUMBERS.findall(TEXT)}
    survivors = dict.fromkeys(table, 0)
    for path, rows in listed().items():
        package = ".".join(path.removesuffix(".py").split("/")[:2])
        survivors[package] += sum(int(count) for _, count, _, _ in rows)
    for package, (there, tried, killed, timeouts, survived) in table.items():
        assert 0 < tried <= there, package
        assert killed + timeouts + survived == tried, package
        assert survivors[package] == survived, package
        assert (killed + timeouts) / tried >= 0.9, package
