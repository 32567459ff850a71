"""Run each notebook once, and keep what came out for the book.

The notebooks are the chapters and some reference pages; below, "chapter" means any of them.

`make test` and `make book` both come here. A chapter runs again only when something that can change
its outputs has changed: its code cells, a file of the package, the pinned versions. The run is
`pytest --nbmake` on a copy, without network; the outputs go to `_build/executed/` and from there
into the cache that the book's builder reads, so the builder itself never runs a cell. What a
chapter that fails printed until then goes to `_build/failed/`: no other run takes it for good.

    python book/_tools execute [NAME ...]  all chapters, or those whose name starts with a NAME
    python book/_tools execute --check [NAME ...]
                                           run them in any case, keep nothing: for a version of
                                           transformers that the book is not built with
"""

import argparse
import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import requires, version
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from nbformat import NotebookNode
from packaging.requirements import Requirement

from _tools import BUILD, ROOT, failed, running
from _tools.chapters import alt_text, code_cells, notebooks, parsed, read, tags
from _tools.failed import Failure
from _tools.page_shape import named, silent
from _tools.running import attempt, run
from _tools.versions.tabs import MIME, differences

EXECUTED = BUILD / "executed"
CACHE = BUILD / ".jupyter_cache"  # where Jupyter Book looks


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder in a fixed order, without Python's own caches."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path


@cache
def surroundings() -> bytes:
    """Digest all that a chapter's outputs depend on besides its cells."""
    digest = hashlib.sha256()
    for path in [*files_below(ROOT / "clipnotes"), ROOT / "constraints.txt"]:
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    for program in (__file__, running.__file__):
        digest.update(Path(program).read_bytes())
    digest.update(f"{sys.version_info[:2]}\0{os.environ.get('CLIPNOTES_MODEL', '')}".encode())
    return digest.digest()


def key(notebook: NotebookNode) -> str:
    """Name the run of a chapter by all that it depends on."""
    digest = hashlib.sha256(surroundings())
    for cell in code_cells(notebook):
        digest.update(f"{','.join(sorted(tags(cell)))}\0{cell.source}\0".encode())
    return digest.hexdigest()


def stored(source: Path) -> Path:
    """Return where a chapter's outputs are kept."""
    return EXECUTED / f"{source.stem}.ipynb"


def is_fresh(source: Path) -> bool:
    """Say whether the outputs kept for a chapter are those of its present code."""
    path = stored(source)
    if not path.exists():
        return False
    kept = nbformat.read(path, as_version=4).metadata.get("clipnotes", {})
    return bool(kept.get("key") == key(read(source)))


def seconds(notebook: NotebookNode) -> float:
    """Add up the time that the cells of an executed notebook took."""
    total = 0.0
    for cell in code_cells(notebook):
        times = cell.metadata.get("execution", {})
        if {"iopub.execute_input", "shell.execute_reply"} <= times.keys():
            start, end = times["iopub.execute_input"], times["shell.execute_reply"]
            total += (moment(end) - moment(start)).total_seconds()
    return total


def longest_first(sources: Iterable[Path]) -> list[Path]:
    """Order chapters by how long their kept run took, so that all workers end at about one time."""

    def took(source: Path) -> float:
        if not stored(source).exists():
            return float("inf")  # it may be long
        kept = nbformat.read(stored(source), as_version=4).metadata.get("clipnotes", {})
        return float(kept.get("seconds", "inf"))

    return sorted(sources, key=took, reverse=True)


def moment(text: str) -> datetime:
    """Read a time as Jupyter writes it (Python 3.10 does not know the closing Z)."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@cache
def installed() -> dict[str, str]:
    """Return the versions that a run is made with: Python's, and those of the direct needs."""
    needs = (Requirement(need) for need in requires("clipnotes-book") or [])
    names = [need.name for need in needs if need.marker is None]
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def keep(source: Path, executed: NotebookNode) -> None:
    """Store an executed chapter, in one step."""
    executed.metadata["clipnotes"] = {
        "key": key(read(source)),
        "seconds": seconds(executed),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": installed(),
    }
    EXECUTED.mkdir(parents=True, exist_ok=True)
    draft = stored(source).with_suffix(".part")
    nbformat.write(executed, draft)
    os.replace(draft, stored(source))


def in_one_piece(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join text that arrived in pieces: the book's builder would end a line after each."""
    found: list[NotebookNode] = []
    for output in outputs:
        last = found[-1] if found else None
        if output.output_type == "stream" and last and last.get("name") == output.name:
            last.text += output.text
        else:
            found.append(output.copy())
    return found


def executed_form(source: Path) -> NotebookNode:
    """Return what came out of a chapter's last run, good or not."""
    return failed.read(source.stem) or nbformat.read(stored(source), as_version=4)


def with_outputs(source: Path) -> NotebookNode:
    """Return a chapter as it is now, with the outputs of its last run, good or not."""
    notebook = parsed(failed.shown(source.stem, source.read_text(encoding="utf-8")))
    executed = executed_form(source)
    pairs = zip(code_cells(notebook), code_cells(executed), strict=True)
    for cell, done in pairs:
        cell.outputs, cell.execution_count = in_one_piece(done.outputs), done.execution_count
    notebook.metadata["language_info"] = executed.metadata.get("language_info", {})
    return notebook


def problems(notebook: NotebookNode) -> list[str]:
    """Find what a reader of the built page would trip over."""
    found = []
    for number, cell in enumerate(code_cells(notebook), start=1):
        if {"remove-cell", "remove-output"} & set(tags(cell)):
            continue
        where = f"code cell {number} ({named(cell)})"
        for output in cell.outputs:
            kinds = set(output.get("data", {}))
            if any(kind.startswith("image/") for kind in kinds) and not alt_text(cell):
                found.append(f"{where} draws a picture without alt text (mystnb: image: alt:)")
            if any("widget" in kind for kind in kinds):
                found.append(f"{where} displays a widget, which needs scripts from elsewhere")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"{where} writes to stderr: {output.text.strip()[:200]!r}")
    return found


def publish(sources: list[Path], folder: Path = CACHE) -> None:
    """Fill the cache that the book's builder reads with the outputs of these chapters."""
    shutil.rmtree(folder, ignore_errors=True)
    builder_cache = get_cache(folder)
    for source in sources:
        data = {"execution_seconds": seconds(executed_form(source))}
        notebook = with_outputs(source)
        for cell in code_cells(notebook):
            for output in cell.outputs:
                # The dict that tabs are drawn from: the builder complains of what it cannot draw.
                output.get("data", {}).pop(MIME, None)
        bundle = CacheBundleIn(notebook, str(source), data=data)
        builder_cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def chosen(names: list[str]) -> list[Path]:
    """Return the notebooks whose name starts with one of these, or all; say so if none does."""
    sources = [s for s in notebooks() if not names or s.name.startswith(tuple(names))]
    if not sources:
        print(f"no chapter matches {names}; there are {[s.stem for s in notebooks()]}")
    return sources


def update(sources: Sequence[Path]) -> list[Failure]:
    """Run the chapters that are not up to date, keep what came out; return those that failed."""
    stale = [source for source in sources if not is_fresh(source)]
    for source in sources:
        failed.forget(source.stem)
    print(f"==> {len(sources)} chapters, {len(stale)} to run", flush=True)
    if not stale:
        return []
    start = time.monotonic()
    ran = attempt({source.stem: read(source) for source in longest_first(stale)})
    for source in stale:
        if source.stem in ran.passed:
            keep(source, ran.passed[source.stem])
            print(f"    {seconds(ran.passed[source.stem]):6.1f} s in the cells of {source.stem}")
        else:
            failed.keep(source.stem, ran.failed[source.stem])
    print(f"==> ran in {time.monotonic() - start:.0f} s")
    return [found for source in stale if (found := failed.failure(source.stem))]


def complaints(sources: Sequence[Path]) -> list[str]:
    """Look at what was kept of the chapters that did not fail: what is wrong with it?"""
    done = {s.stem: with_outputs(s) for s in sources if failed.read(s.stem) is None}
    found = [f"{stem}: {said}" for stem in done for said in problems(done[stem])]
    found += [
        f"{stem}: {said}" for stem in done if stem[0].isdigit() for said in silent(done[stem])
    ]
    return found + [said for stem in done for said in differences(stem, done[stem])]


def main(words: list[str]) -> int:
    """Run the chapters that are not up to date, and say what is wrong with any of those chosen."""
    parser = argparse.ArgumentParser(description="Run each notebook once, keep what came out.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="how a chapter's file name starts")
    parser.add_argument("--check", action="store_true", help="run in any case, keep nothing")
    options = parser.parse_args(words)
    sources = chosen(options.names)
    if not sources:
        return 1
    if options.check:
        code, executed = run({source.stem: read(source) for source in longest_first(sources)})
        different = [said for stem, done in executed.items() for said in differences(stem, done)]
        print(*different, sep="\n", end="\n" if different else "")
        return code or int(bool(different))
    said = [*update(sources), *complaints(sources)]
    print(*said, sep="\n", end="\n" if said else "")
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
