"""How other machines compute: the settings of each mode of `make elsewhere`.

A mode changes the last bits of what is computed. It is red where two computations are compared bit
for bit, or a measurement is asserted without a margin.
"""

from collections.abc import Mapping

from _tools import ROOT

#: Python starts with `sitecustomize` of this folder where PYTHONPATH names it.
HOOKS = str(ROOT / "book" / "_tools" / "_offline")
#: A processor without AVX. Each library has a switch of its own.
OLD_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
#: `_offline/other_machine.py` puts each parameter elsewhere. MKL's kernels for SSE4.2 choose their
#: path by alignment, those for AVX-512 do not.
ODD_OFFSETS = {"CLIPNOTES_ODD_OFFSETS": "1", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}
#: The environment variables of each mode; None stands for one that must not be set. `MKL_CBWR`
#: promises the same bits at any alignment: it cannot stand in a mode that moves weights.
MODES: dict[str, Mapping[str, str | None]] = {
    "kernels": {**OLD_KERNELS, "MKL_CBWR": "COMPATIBLE"},
    "offsets": {**ODD_OFFSETS, "MKL_CBWR": None},
    "one-thread": {"CLIPNOTES_THREADS": "1"},
    "four-threads": {"CLIPNOTES_THREADS": "4"},
    "all": {**OLD_KERNELS, **ODD_OFFSETS, "MKL_CBWR": None, "CLIPNOTES_THREADS": "4"},
}
