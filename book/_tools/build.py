"""Build the book into `_build/html`; any warning is an error.

Runs the chapters that have not run yet (`execute`), then Jupyter Book, and looks at every page. A
chapter that fails is a page with a notice and its error, and the exit code is 1. Nothing is done if
nothing changed since the last good build. A part would not repeat the warnings of the other pages,
so a build is always a whole one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from _tools import BUILD, ROOT

HTML = BUILD / "html"
DIGEST = BUILD / "book.digest"
FOLDERS = ("book", "clipnotes")
SKIPPED = {"__pycache__", ".ipynb_checkpoints"}
#: Attributes through which a page loads something by itself. A link (`a`) loads nothing.
LOADS = dict.fromkeys(("script", "img", "iframe", "source", "video"), "src") | {"link": "href"}
#: A `link` that only points somewhere.
POINTS = {"canonical", "search", "index", "next", "prev", "author", "license"}

#: The page that sends a visitor of the site to the book. Jupyter Book's own names no icon, so a
#: browser asks for one that is not there; and a messenger that follows no page finds no preview.
FRONT = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>clipnotes</title>
<meta http-equiv="refresh" content="0; url=book/index.html">
<link rel="icon" href="_static/favicon.svg" type="image/svg+xml">
{preview}
<a href="book/index.html">clipnotes</a>
"""
PREVIEW = re.compile(r'<meta [^>]*(?:property="og:|name="description")[^>]*>')


def front_page(first: str) -> str:
    """Make the page that leads to the book, with the preview of the book's first page."""
    return FRONT.format(preview="\n".join(PREVIEW.findall(first)))


def sources_digest() -> str:
    """Digest every file that the book can depend on, by name and content."""
    paths = [
        path for path in ROOT.iterdir() if path.suffix in {".yml", ".toml", ".txt", ".md", ".cff"}
    ]
    paths += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    digest = hashlib.sha256(f"{sys.version}\0{os.environ.get('CLIPNOTES_MODEL', '')}".encode())
    for path in sorted(paths):
        if path.is_file() and not SKIPPED & set(path.parts):
            content = path.read_bytes()
            digest.update(
                f"{path.relative_to(ROOT).as_posix()}\0{len(content)}\0".encode() + content
            )
    return digest.hexdigest()


class Page(HTMLParser):
    """Collects what is wrong with one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.problems: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        found = dict(attrs)
        if tag == "img" and not (found.get("alt") or "").strip():
            self.problems.append(f"a picture without alt text: {found.get('src')}")
        address = found.get(LOADS.get(tag, "")) or ""
        if address.startswith(("http:", "https:", "//")) and found.get("rel") not in POINTS:
            self.problems.append(f"loads from another host: {address}")


def site_problems(folder: Path) -> list[str]:
    """Look at every built page."""
    found = []
    for path in sorted(folder.rglob("*.html")):
        if "_static" not in path.parts:
            name = path.relative_to(folder).as_posix()
            found += [f"{name}: {said}" for said in Page(path.read_text(encoding="utf-8")).problems]
    return found


def jupyter_book(expected: Callable[[str], bool]) -> list[str]:
    """Build all pages; return what is wrong, without warnings that are `expected`."""
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", ".", "--all"]
    command += ["-W", "-n", "--keep-going"]
    found, left_out = [], 0
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if any(word in line for word in ("WARNING:", "ERROR:", "CRITICAL:")):
                if expected(line):
                    left_out += 1
                else:
                    found.append(line.strip())
            if "Executing notebook using" in line:
                found.append(f"a chapter was not in the cache and ran again: {line.strip()}")
    written = (HTML / "book" / "index.html").exists()
    if not written or (process.returncode and not left_out):
        found.append(f"jupyter-book ended with exit code {process.returncode}")
    return found


def main() -> int:
    """Build if something changed; say where the book is, and what is wrong with it."""
    start, digest = time.monotonic(), sources_digest()
    front = HTML / "index.html"
    if DIGEST.exists() and DIGEST.read_text() == digest and front.exists():
        print(f"The book is up to date: open {front}")
        return 0
    DIGEST.unlink(missing_ok=True)
    shutil.rmtree(HTML, ignore_errors=True)

    from _tools import execute  # here, because an unchanged book needs none of it
    from _tools.chapters import notebooks
    from _tools.real.tabs import changed

    sources = notebooks()
    failures = execute.update(sources)
    complaints = execute.complaints(sources)
    execute.publish(sources)
    print("==> Building the pages", flush=True)
    broken = [source for source in sources if source.stem in {f.stem for f in failures}]
    found = jupyter_book(lambda line: execute.failed.concerns(line, broken))
    first = HTML / "book" / "index.html"
    if first.exists():
        front.write_text(front_page(first.read_text(encoding="utf-8")), encoding="utf-8")
        found += site_problems(HTML)
    took = f"{time.monotonic() - start:.0f} s"
    if complaints or found:
        print("The book has errors:", *complaints, *found, sep="\n  ")
    for said in changed():  # no error: only the workflow with hub access can record again
        print(said)
    if failures and first.exists():
        pages = "One page shows" if len(failures) == 1 else f"{len(failures)} pages show"
        print(f"{pages} an error, the others are built ({took}): open {front}")
    if failures:
        print("What failed:", *failures, sep="\n  ")
    if complaints or found or failures:
        return 1
    DIGEST.write_text(digest)
    print(f"The book is built ({took}): open {front}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
