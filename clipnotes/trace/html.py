"""A call chain as HTML that folds and unfolds: no script, no font, no request to anywhere.

All colours are mixed from the colour of the surrounding text, so the tree is readable on whatever
background a notebook, a book or a browser puts under it, light or dark.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

from clipnotes.trace.text import LEGEND, details, fold, group_title, own_parameters

_STYLE = """
.clipnotes-trace { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; color: inherit;
  overflow-x: auto; overflow-wrap: anywhere; text-align: left }
.clipnotes-trace details, .clipnotes-trace .clipnotes-leaf { margin: 0 0 0 .4em;
  padding: .1em 0 .1em 1em;
  border-left: 1px solid color-mix(in srgb, currentColor 25%, transparent) }
.clipnotes-trace summary { cursor: pointer; margin-left: -.6em; padding-left: .2em }
.clipnotes-trace summary:focus-visible { outline: 2px solid currentColor }
.clipnotes-trace b { font-weight: 600 }
.clipnotes-trace .clipnotes-more { color: color-mix(in srgb, currentColor 72%, transparent) }
.clipnotes-trace dl { display: grid; grid-template-columns: 4em 1fr; margin: 0 0 .3em .6em }
.clipnotes-trace dt { font-weight: 400; margin: 0;
  color: color-mix(in srgb, currentColor 72%, transparent) }
.clipnotes-trace dd { margin: 0; min-width: 0 }
.clipnotes-trace .clipnotes-unset { text-decoration: underline dashed;
  text-underline-offset: .25em }
.clipnotes-trace p { margin: .3em 0 .3em .4em }
"""

_OPEN = 2  # levels that are unfolded from the start


def tree_html(call: dict[str, Any]) -> str:
    """Draw a call and those below it, a dict of ``Call.to_dict``, as HTML to put into a page."""
    notes = "".join(f"<p>note: {escape(note)}</p>" for note in call.get("notes", ()))
    tree = "".join(_nodes([call], 0))
    return (
        f'<div class="clipnotes-trace"><style>{_STYLE}</style>{notes}{tree}'
        f'<p class="clipnotes-more">{escape(LEGEND)}</p></div>'
    )


def page_html(call: dict[str, Any]) -> str:
    """Draw a call and those below it as a whole page that follows the browser's dark mode."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Calls of {escape(call['class'])}</title></head>"
        f"<body>{tree_html(call)}</body></html>\n"
    )


def _nodes(group: list[dict[str, Any]], level: int) -> Iterator[str]:
    first = group[0]
    path, name = (escape(text) for text in group_title(group))
    source = escape(f"{first['file']}:{first['line']}") if first["file"] else ""
    more = " · ".join(part for part in (own_parameters(first), source) if part)
    title = f"<b>{path}</b> {name}" if path else f"<b>{name}</b>"
    title += f' <span class="clipnotes-more">{more}</span>'
    rows = "".join(
        f"<dt>{label}</dt><dd{unset}>{escape(text)}</dd>"
        for label, text in details(group)
        for unset in [' class="clipnotes-unset"' if label == "unset" else ""]
    )
    if not first["calls"]:
        yield f'<div class="clipnotes-leaf">{title}<dl>{rows}</dl></div>'
        return
    is_open = " open" if level < _OPEN or first["raised"] else ""
    yield f"<details{is_open}><summary>{title}</summary><dl>{rows}</dl>"
    for inner in fold(first["calls"]):
        yield from _nodes(inner, level + 1)
    yield "</details>"
