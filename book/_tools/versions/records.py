"""Write down what the installed version of transformers does, for the book to show.

    python book/_tools versions.records      in an environment with that version

`clipnotes/recorded/VERSION.json` gets the facts of `facts/`, and `book/recorded/VERSION.json` what
the cells tagged `by-version` print. `make record` runs it in every version.
"""

import json
import sys
from importlib.metadata import version

from transformers.utils import logging

from _tools import ROOT
from _tools.chapters import notebooks, read
from _tools.execute import run
from _tools.versions import tabs
from _tools.versions.facts import facts

FACTS = ROOT / "clipnotes" / "recorded"


def record_facts() -> None:
    """Ask this version, and write its answers."""
    logging.set_verbosity_error()  # some questions are asked to see what comes with a warning
    logging.disable_progress_bar()
    answers = facts()
    FACTS.mkdir(exist_ok=True)
    path = FACTS / f"{answers['transformers']}.json"
    path.write_text(json.dumps(answers, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


def record_outputs() -> int:
    """Run the notebooks with tagged cells, and write what these gave; return the exit code."""
    sources = {source.stem: read(source) for source in notebooks()}
    code, executed = run({stem: cells for stem, cells in sources.items() if tabs.tagged(cells)})
    if code:
        print("Nothing is recorded: a notebook fails.")
        return code
    outputs = {stem: tabs.seen(executed[stem]) for stem in sorted(executed)}
    path = tabs.RECORDED / f"{version('transformers')}.json"
    path.write_text(tabs.laid_out(outputs) + "\n", encoding="utf-8")
    print(f"wrote {path}")
    return 0


def main() -> int:
    """Record both."""
    record_facts()
    return record_outputs()


if __name__ == "__main__":
    sys.exit(main())
