"""Write down what the installed version of transformers does, for the chapters to show.

    python book/record.py        # in an environment with that version; writes
    clipnotes/recorded/VERSION.json

A fact about a version in the book is one that this program saw there.
"""

from __future__ import annotations

import json
from pathlib import Path

from transformers.utils import logging

from facts import facts

OUT = Path(__file__).parent.parent / "clipnotes" / "recorded"


def main() -> None:
    """Write the facts to their file."""
    logging.set_verbosity_error()  # some questions are asked to see what comes with a warning
    logging.disable_progress_bar()
    found = facts()
    OUT.mkdir(exist_ok=True)
    path = OUT / f"{found['transformers']}.json"
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(OUT.parent.parent)}")


if __name__ == "__main__":
    main()
