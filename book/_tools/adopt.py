"""Write another address of the repository into every file that needs a copy of it.

    python book/_tools adopt https://github.com/OWNER/NAME

`pyproject.toml` decides it; the README, citation, settings and install cells hold copies.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from _tools import ROOT, pairs
from clipnotes.files import write_atomically

TEXT = {".cff", ".cfg", ".html", ".ipynb", ".md", ".py", ".toml", ".txt", ".yaml", ".yml", ""}
SKIPPED = {"_build", "build", "dist", "__pycache__", "node_modules"}
SHOWN = {".ci", ".github"}  # of the hidden folders
ADDRESS = re.compile(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")


def text_files() -> Iterator[Path]:
    """Yield every text file of the repository."""
    for folder, folders, files in os.walk(ROOT):
        hidden = {name for name in folders if name.startswith(".")} - SHOWN
        folders[:] = sorted(set(folders) - hidden - SKIPPED)
        paths = [Path(folder, name) for name in sorted(files)]
        yield from (path for path in paths if path.suffix in TEXT)


def checked(url: str) -> str:
    """Return an address without a slash or `.git` at its end; raise if it is not GitHub's."""
    cleaned = url.strip().removesuffix("/").removesuffix(".git")
    if not ADDRESS.fullmatch(cleaned) or cleaned.endswith((".", "..")):
        raise ValueError(
            f"{url!r} is no address of a repository. It has to look like "
            "https://github.com/OWNER/NAME: Colab, the issues and the pages are GitHub's."
        )
    return cleaned


def rewritten(text: str, old: str, new: str) -> str:
    """Return a text with one repository's address for that of another."""
    return re.sub(re.escape(old) + r"(?![\w-])", new, text)  # no backslash in an address


def main(words: list[str]) -> int:
    """Bring every copy up to date, and name the files that changed."""
    if len(words) != 1:
        print(__doc__)
        return 2
    try:
        new = checked(words[0])
    except ValueError as error:
        print(error)
        return 2
    old = pairs.repository_url()
    # All is read before anything is written. A notebook is written from its chapter.
    sources = [path for path in text_files() if path.suffix != ".ipynb"]
    # pyproject.toml is the last: after a kill, the same command does what is left.
    sources.sort(key=lambda path: path.name == "pyproject.toml")
    texts = {path: path.read_bytes().decode(errors="surrogateescape") for path in sources}
    changed = {path: rewritten(text, old, new) for path, text in texts.items()}
    for path, text in changed.items():
        if text != texts[path]:
            write_atomically(path, text.encode(errors="surrogateescape"))
            print(f"written: {path.relative_to(ROOT).as_posix()}")
    return pairs.main([])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
