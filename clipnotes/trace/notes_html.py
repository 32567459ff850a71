"""Annotated source as HTML: code with a margin, in which calls open what they called.

Colours are mixed from the colour of the surrounding text, so a piece of a page is readable on
whatever a notebook or a book puts under it. Without its script, all of it can still be read.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from clipnotes.trace.notes_rows import (
    Tree,
    function_html,
    lines_at_first,
    more,
    place,
    shared_marks,
)

#: Lines. In a piece of a page, a function that is longer is folded below its first lines.
LONGEST, FIRST = 25, 20

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_SHAPES = (
    '<label><input type="checkbox" class="cn-shapes" checked autocomplete="off"> Shapes</label>'
)
_OPENERS = (
    '<button type="button" data-do="open">Open all calls</button>'
    '<button type="button" data-do="close">Close all</button>'
)
_HELP_CALLS = "A name with ▸ opens what it called. "
_HELP_NAMES = (
    "Point at the name of a tensor, and every place that the same tensor is passed to lights up; "
    "a click or a tap keeps it. With keys: Tab goes to the names of a function, ← and → to the "
    "next name, ↑ and ↓ to the next place of the same tensor, Enter keeps it, Esc lets go."
)


def notes_page(notes: dict[str, Any]) -> str:
    """Draw annotated source as a whole page, which follows the browser's dark mode.

    Args:
        notes: From ``Notes.to_dict``.
    """
    title = f"{notes['title']}, annotated"
    return (
        '<!doctype html>\n<html lang="en" class="cn-page"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{escape(title)}</title></head>\n<body><main>"
        f"{_drawn(notes, 'h1', None)}</main></body></html>\n"
    )


def notes_fragment(notes: dict[str, Any]) -> str:
    """Draw annotated source as HTML to put into a page, the end of it folded if it is long.

    Args:
        notes: From ``Notes.to_dict``.
    """
    return _drawn(notes, "b", FIRST if lines_at_first(notes) > LONGEST else None)


def _drawn(notes: dict[str, Any], heading: str, first_lines: int | None) -> str:
    tree = Tree(shared_marks(notes))
    body = "".join(function_html(notes, None, tree, first_lines))
    title = f"<{heading}>{escape(notes['title'])}</{heading}> "
    openers = _OPENERS if notes.get("inside") else ""
    bar = f'<div class="cn-bar">{openers}{_SHAPES}</div>'
    help_text = (_HELP_CALLS if openers else "") + (_HELP_NAMES if tree.shared else "")
    if help_text and heading != "h1":
        help_text = f"<details><summary>How to read this</summary>{help_text}</details>"
    if help_text:
        body = f'<div class="cn-help">{help_text}</div>{body}'
    body = f'<div class="cn-top"><div>{title}{more(place(notes))}</div>{bar}</div>{body}'
    return (
        f'<div class="clipnotes-notes"><style>{_file("notes.css")}</style>'
        f'<div class="cn-body">{body}</div><p class="cn-said" role="status"></p>'
        f"<script>{_file('notes.js')}</script></div>"
    )


@cache
def _file(name: str) -> str:
    text = (files("clipnotes.trace") / name).read_text("utf-8")
    # A book has many of these pieces, and no reader of a page reads its indentation.
    return re.sub(r"(?m)^[ \t]+|^\s*//.*\n|/\*.*?\*/\n?", "", text)
