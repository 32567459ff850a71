"""Write down what the cells tagged `real` print on OpenAI's own CLIP, for the book to show.

    python book/_tools real.record openai/clip-vit-base-patch32

This needs the hub once, so it is the weekly workflow that does it. `CLIPNOTES_MODEL` may name the
model too. Any other model, or without a name the stand-in of `other_model`, is for trying: what it
prints goes to `_build/real/`, where the book does not look.
"""

import argparse
import os
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from _tools import BUILD, other_model
from _tools.chapters import notebooks, read
from _tools.execute import run
from _tools.real import tabs
from _tools.versions.tabs import laid_out, tagged
from clipnotes.files import write_atomically


def destination(name: str | None) -> Path:
    """Return where a model's record goes: into the book for the real one only."""
    if name == tabs.REAL and not Path(name).is_dir():
        return tabs.RECORD
    return BUILD / "real" / f"{Path(name or other_model.FOLDER).name}.json"


def write(record: tabs.Record, path: Path) -> None:
    """Write a record, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{laid_out(record)}\n".encode())
    print(f"wrote {path}")


def main(words: list[str]) -> int:
    """Run the notebooks with tagged cells on a model, and write what these gave."""
    parser = argparse.ArgumentParser(description="Record what cells print on the real CLIP.")
    parser.add_argument("model", nargs="?", help=f"{tabs.REAL}, or any other for trying")
    name = parser.parse_args(words).model or os.environ.get("CLIPNOTES_MODEL")
    books = {source.stem: read(source) for source in notebooks()}
    books = {stem: notebook for stem, notebook in books.items() if tagged(notebook, tabs.TAG)}
    model = other_model.directory(name)
    os.environ["CLIPNOTES_MODEL"] = str(model)
    print(f"==> {len(books)} notebooks with {model}", flush=True)
    exit_code, executed = run(books)
    if exit_code:
        print("Nothing is recorded: a notebook fails.")
        return exit_code
    record = {
        "model": name or other_model.FOLDER,
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "transformers": version("transformers"),
        "torch": version("torch"),
        "pages": {stem: tabs.seen(executed[stem]) for stem in sorted(executed)},
    }
    write(record, destination(name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
