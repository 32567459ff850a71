"""Run all notebooks and unit tests as other machines would compute them.

    python book/elsewhere.py [MODE ...]              each mode in turn, or some of them
    python book/elsewhere.py [MODE ...] --only STEP  only `chapters`, or only `unit tests`

Each mode changes the last bits of what is computed and nothing else, so everything stays green.
What is red compares two computations bit for bit, or asserts a measurement without a margin. What
the steps print goes to `_build/matrix/`; a table comes at the end.
"""

import argparse
import sys
from collections.abc import Mapping

import matrix
from pairs import ROOT

HOOKS = str(ROOT / "book" / "_offline")
#: A processor without AVX. Each library has a switch of its own.
OLD_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
#: `_offline/other_machine.py` puts each parameter elsewhere. MKL's kernels for SSE4.2 choose their
#: path by alignment, those for AVX-512 do not.
ODD_OFFSETS = {"CLIPNOTES_ODD_OFFSETS": "1", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
#: The settings of each mode. `MKL_CBWR` promises the same bits at any alignment: it cannot stand
#: in a mode that moves weights.
MODES: dict[str, Mapping[str, str | None]] = {
    "kernels": {**OLD_KERNELS, "MKL_CBWR": "COMPATIBLE"},
    "offsets": {**ODD_OFFSETS, "MKL_CBWR": None},
    "one-thread": {"CLIPNOTES_THREADS": "1"},
    "four-threads": {"CLIPNOTES_THREADS": "4"},
    "all": {**OLD_KERNELS, **ODD_OFFSETS, "MKL_CBWR": None, "CLIPNOTES_THREADS": "4"},
}
STEPS = {
    # The pages of the built book hold no numbers of their own.
    "unit tests": [*matrix.STEPS["unit tests"], "--ignore=tests/site"],
    "chapters": matrix.STEPS["chapters"],
}


def run(mode: str, names: list[str]) -> dict[str, matrix.Step]:
    """Do the named steps as one of the `MODES` says."""
    said = ", ".join(f"{name}={value}" for name, value in MODES[mode].items() if value)
    print(f"==> {mode}: {said}", flush=True)
    changes = {**MODES[mode], "PYTHONPATH": HOOKS}
    return {
        name: matrix.tell(
            mode, name, matrix.carry_out(mode, name, [sys.executable, *STEPS[name]], changes)
        )
        for name in names
    }


def main(words: list[str]) -> int:
    """Run the chosen modes one after the other; return 1 if anything is red."""
    parser = argparse.ArgumentParser(description="Run all as other machines would compute it.")
    parser.add_argument("modes", nargs="*", metavar="MODE", help=f"some of {', '.join(MODES)}")
    parser.add_argument("--only", metavar="STEP", choices=STEPS, help="chapters, or unit tests")
    given = parser.parse_args(words)
    wrong = [mode for mode in given.modes if mode not in MODES]
    if wrong:
        known = " ".join(MODES)
        print(f"no such mode: {' '.join(wrong)}. Take some of {known}, or none for each in turn.")
        return 2
    names = [given.only] if given.only else list(STEPS)
    print(f"Logs: {matrix.LOGS.relative_to(matrix.ROOT)}/", flush=True)
    results = {mode: run(mode, names) for mode in MODES if not given.modes or mode in given.modes}
    failed = matrix.show_failures(results, "mode")
    print("", matrix.table(results, "mode", names), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
