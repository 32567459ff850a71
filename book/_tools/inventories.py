"""Write `book/_inventories/`: where other projects describe the names that our API pages mention.

The book is built without a network, so Sphinx cannot fetch the projects' own inventories. These
hold only the names that are needed. A missing one is a warning of the build: add it here, and run

    python book/_tools inventories            write
    python book/_tools inventories --check    write nothing, exit 1 if a file differs
"""

import importlib
import sys
from functools import cache
from typing import Any

from _tools import ROOT

FOLDER = ROOT / "book" / "_inventories"
#: Project -> name -> page, below the address that `_config.yml` gives for the project. The place on
#: the page is the name itself: so it is on all of these sites.
PAGES = {
    "python": {
        "collections.abc.Callable": "library/collections.abc.html",
        "collections.abc.Collection": "library/collections.abc.html",
        "collections.abc.Iterable": "library/collections.abc.html",
        "collections.abc.Iterator": "library/collections.abc.html",
        "collections.abc.Mapping": "library/collections.abc.html",
        "collections.abc.Sequence": "library/collections.abc.html",
        "contextlib.AbstractContextManager": "library/contextlib.html",
        "os.PathLike": "library/os.html",
        "pathlib.Path": "library/pathlib.html",
        "random.Random": "library/random.html",
    },
    "torch": {
        "torch.Tensor": "tensors.html",
        "torch.device": "tensor_attributes.html",
        "torch.dtype": "tensor_attributes.html",
        "torch.nn.Linear": "generated/torch.nn.Linear.html",
        "torch.nn.Module": "generated/torch.nn.Module.html",
        "torch.nn.ModuleList": "generated/torch.nn.ModuleList.html",
        "torch.nn.Parameter": "generated/torch.nn.parameter.Parameter.html",
        "torch.optim.Optimizer": "optim.html",
    },
    "pillow": {"PIL.Image.Image": "reference/Image.html"},
    "numpy": {"numpy.ndarray": "reference/generated/numpy.ndarray.html"},
    "matplotlib": {"matplotlib.axes.Axes": "api/_as_gen/matplotlib.axes.Axes.html"},
    "datasets": {"datasets.Dataset": "package_reference/main_classes"},
}


def find(name: str) -> Any:
    """Import what a dotted name stands for; an AttributeError if there is no such thing."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise AttributeError(f"nothing called {name} is installed")


@cache
def also_called() -> dict[str, str]:
    """Map the name that Python has for a class, by where it is defined, to the documented one."""
    names = {}
    for name in (name for pages in PAGES.values() for name in pages):
        found = find(name)
        names[f"{found.__module__}.{found.__qualname__}"] = name
    return names


def text(project: str) -> str:
    """Return an inventory in Sphinx's first format, which is plain text."""
    lines = ["# Sphinx inventory version 1", f"# Project: {project}", "# Version: stable"]
    for name, page in sorted(PAGES[project].items()):
        find(name)
        lines.append(f"{name} class {page}")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the inventories that differ, or only name them."""
    wanted = {FOLDER / f"{project}.txt": text(project) for project in PAGES}
    stale = [p for p, said in wanted.items() if not p.exists() or p.read_text("utf-8") != said]
    for path in stale:
        if arguments != ["--check"]:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        print(path.name)
    return 1 if stale and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
