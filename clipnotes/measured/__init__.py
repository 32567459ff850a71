"""Results of long experiments, for the chapters to show. The programs are in `benchmarks/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def measured(name: str) -> dict[str, Any]:
    """Read the results of an experiment.

    Args:
        name: The program in ``benchmarks/`` that measured them, without ``.py``.

    Returns:
        ``about`` (model, versions, recipe) and ``rows``, with one dict per run.

    Raises:
        ValueError: There is no such experiment.

    Example:
        >>> measured("few_shot")["about"]["classes"]["new things"]
        82
    """
    path = FOLDER / f"{name}.json"
    if not path.exists():
        experiments = ", ".join(sorted(p.stem for p in FOLDER.glob("*.json")))
        raise ValueError(f"no results {name!r}; there are {experiments}")
    return json.loads(path.read_text(encoding="utf-8"))
