"""Mutation testing: change the package in small ways and see whether a test notices.

    python tests/mutate.py [--only clipnotes.model] [--sample 300] [--seed 0] [--again] [--list]

mutmut makes the mutants and runs, for each, those tests of its package that reach its function, the
fast ones first, until one fails. It works on copies in `_build/mutation/`, one for each package.
Results stay there: a run that was stopped goes on, and a larger sample holds the smaller one of the
same seed. A function that changes loses its results; after a change in the tests, `--again` runs
again what they had not killed.

mutmut leaves out functions with decorators, and `fit` is one of them. So in the copy `@f` above a
function becomes the line `name = f(name)` below it, which does the same.
"""

import argparse
import importlib
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import libcst as cst
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
COPIES = ROOT / "_build" / "mutation"
COPIED = ("clipnotes", "tests", "book", "constraints", "training", "benchmarks")

# Which tests are to notice changes in which package: its own.
TESTS = {
    "clipnotes.compat": ("compat",),
    "clipnotes.model": (
        *("checks", "clip", "divergence", "encoder", "masks", "text", "vision"),
        *("mutants_clip", "mutants_text", "mutants_vision"),
    ),
    "clipnotes.prompts": ("prompts_*",),
    "clipnotes.trace": ("trace", "trace_*"),
}

# Three tests start processes, for which every mutant that survives would have to wait. One asks
# which line a warning names, and between the lines stands mutmut.
LEFT_OUT = (
    "not two_processes and not killed_run and not kill_at_any_moment"
    " and not line_that_wanted_to_encode"
)

SETTINGS = """
[tool.mutmut]
source_paths = ["clipnotes"]
only_mutate = {sources}
do_not_mutate_patterns = ['raise \\w+']
also_copy = {copied}
pytest_add_cli_args = [
    "-p", "no:cacheprovider", "-o", "addopts=", "-o", "python_files={tests}", "-k", "{left_out}",
]
pytest_add_cli_args_test_selection = ["tests"]
timeout_multiplier = 3.0
timeout_constant = 10.0
use_git_change_detection = false
"""


class DecoratorsAsCalls(cst.CSTTransformer):
    """Turn `@f` above a function or method into `name = f(name)` below it."""

    def visit_FunctionDef(self, node):
        return False  # what stands inside a function stays

    def leave_FunctionDef(self, original_node, updated_node):
        calls = [decorator.decorator for decorator in updated_node.decorators]
        known = [
            isinstance(c, cst.Name) and c.value in ("classmethod", "staticmethod") for c in calls
        ]
        if not calls or known == [True]:  # mutmut knows these two
            return updated_node
        name = value = cst.Name(updated_node.name.value)
        for call in reversed(calls):
            value = cst.Call(call, [cst.Arg(value)])
        below = cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(name)], value)])
        return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), below])


def written(name, package):
    """What a file of the repository holds in a package's copy."""
    content = (ROOT / name).read_bytes()
    if name == Path("pyproject.toml"):
        path = package.replace(".", "/")
        # Patterns, not names: at a new name, mutmut would forget all results.
        tests = " ".join(f"test_{t}.py" for t in TESTS[package])
        settings = SETTINGS.format(
            sources=[f"{path}.py", f"{path}/*.py"],
            copied=[*COPIED[2:], "constraints.txt"],
            tests=tests,
            left_out=LEFT_OUT,
        )
        return content + settings.encode()
    if name.suffix == ".py" and ".".join(name.with_suffix("").parts).startswith(package):
        return cst.parse_module(content).visit(DecoratorsAsCalls()).bytes
    return content


def bring_up_to_date(copy, package):
    """Write what changed, and nothing else, so that results stay."""
    found = (p for folder in COPIED for p in (ROOT / folder).rglob("*") if p.is_file())
    names = {p.relative_to(ROOT) for p in found if "__pycache__" not in p.parts}
    names |= {Path("pyproject.toml"), Path("constraints.txt")}
    for name in sorted(names):
        target, content = copy / name, written(name, package)
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for folder in COPIED:
        for path in (copy / folder).rglob("*"):
            if path.is_file() and path.relative_to(copy) not in names:
                path.unlink()


def make_mutants(mutmut):
    """Write all mutants, which is the first thing that mutmut does when it runs."""
    mutmut.set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    with mutmut.CatchOutput():
        mutmut.copy_src_dir()
        mutmut.copy_also_copy_files()
        mutmut.create_mutants(1)


def only_work_counts():
    """Let a mutant run out of CPU time long before it runs out of time by the clock.

    On a busy machine the clock would end mutants that no test notices, and count them as noticed.
    """
    isolation = importlib.import_module("mutmut.workers.isolation")
    by_the_clock = isolation.register_timeout
    isolation.register_timeout = lambda pid, timeout_s: by_the_clock(pid, 20 * timeout_s)


def results(mutmut):
    """Status of every mutant there is, by name."""
    found = {}
    for path in mutmut.walk_mutatable_files():
        data = mutmut.SourceFileMutationData(path=path)
        data.load()
        ends = data.exit_code_by_key.items()
        found |= {name: mutmut.status_by_exit_code[code] for name, code in ends}
    return found


def drawn(names, given):
    """The mutants that were asked for. A sample is the beginning of one shuffled order."""
    names = sorted(name for name in names if name.startswith(f"{given.only}."))
    if given.sample is None:
        return names
    random.Random(given.seed).shuffle(names)
    return names[: given.sample]


def report(mutmut, status):
    """Print how many mutants came to which end, then each that no test killed, as a diff."""
    print(len(status), "mutants:", dict(Counter(status.values())))
    for name, end in status.items():
        if end not in ("killed", "not checked"):
            print(f"# {name}: {end}\n{mutmut.get_diff_for_mutant(name)}")


def run(package, given):
    """Test mutants of one package, in this process."""
    copy = COPIES / package
    bring_up_to_date(copy, package)
    os.chdir(copy)
    os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads cannot be forked
    # tqdm's own lock is one for all processes: a mutant that is ended while it holds it stops
    # every later one. And its watching thread is a thread.
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0
    os.environ["PYTHONPATH"] = str(copy / "mutants")  # for the processes that tests start
    here = (ROOT, ROOT / "tests")
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() not in here]
    mutmut = importlib.import_module("mutmut.__main__")  # it looks for settings in this folder
    only_work_counts()
    make_mutants(mutmut)
    status = results(mutmut)
    names = drawn(status, given)
    to_run = {*status.values()} - {"killed"} if given.again else {"not checked"}
    names_to_run = [name for name in names if status[name] in to_run]
    if names_to_run and not given.list:
        mutmut._run(names_to_run, 1)
        status = results(mutmut)
    report(mutmut, {name: status[name] for name in names})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="clipnotes", help="a package, a module or a function")
    parser.add_argument("--sample", type=int, help="how many mutants of each package, at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="survivors too")
    parser.add_argument("--list", action="store_true", help="run nothing, show what there is")
    given = parser.parse_args()
    packages = [p for p in TESTS if f"{given.only}.".startswith(f"{p}.")]
    if packages:
        return run(packages[0], given)
    if given.only != "clipnotes":
        parser.error(f"--only {given.only}: give one of {', '.join(TESTS)}, or a part of one")
    options = [o for o in sys.argv[1:] if o != "--only" and o != "clipnotes"]
    for package in TESTS:  # mutmut knows one set of tests a process
        subprocess.run([sys.executable, __file__, "--only", package, *options], check=True)
    return None


if __name__ == "__main__":
    main()
