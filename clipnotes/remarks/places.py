"""Remarks that hold in several versions: each is put where its statement is in the installed one.

A remark is a dict: where it can stand -> what it says there. A place is written
``"CLIPMLP.forward: hidden_states = self.fc1"``, a function and the beginning of a statement of it.
The first place that the installed version has is the one. Where several statements begin so, the
remark is a list, with a text for each.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from functools import cache

from clipnotes.compat.functions import written
from clipnotes.trace.remarks import begin_so
from clipnotes.trace.statements import Source, source_lines

Said = str | list[str]
Remark = dict[str, Said]


def at(place: str, said: Said) -> Remark:
    """A remark with one place in all versions."""
    return {place: said}


def either(*places: str, said: Said) -> Remark:
    """A remark whose statement has moved or changed."""
    return dict.fromkeys(places, said)


def fitting(remarks: Iterable[Remark]) -> tuple[list[tuple[str, str, Said]], list[Remark]]:
    """Find the place of each remark in the installed version.

    Args:
        remarks: On one part of CLIP.

    Returns:
        For each remark the title of its function, as ``annotate`` gives it, the beginning of the
        statement, and the text; and the remarks that have no place in this version.
    """
    placed, without = [], []
    for remark in remarks:
        for place, said in remark.items():
            name, _, beginning = place.partition(": ")
            title, source = _source(name)
            count = len(said) if isinstance(said, list) else 1
            if source is not None and len(begin_so(source, beginning)) == count:
                placed.append((title, beginning, said))
                break
        else:
            without.append(remark)
    return placed, without


@cache
def _source(name: str) -> tuple[str, Source | None]:
    """Read the source of a function, and say which title it has in annotated source."""
    code = getattr(inspect.unwrap(written(name)), "__code__", None)
    if code is None:
        return name, None
    # A method's class is the one that ran; Python 3.10 does not know that of another function.
    is_method = name.endswith(".forward")
    title = name if is_method else getattr(code, "co_qualname", code.co_name)
    return title, source_lines(code)
