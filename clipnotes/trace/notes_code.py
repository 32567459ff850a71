"""Source as HTML: its colours, the names of tensors, and what can be opened."""

from __future__ import annotations

import ast
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

#: Kinds of tokens that have a colour, the more special ones first, and their class in the page.
_KINDS = (
    (Keyword.Constant, "n"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "f"),
    (Number, "n"),
    (String, "s"),
    (Comment, "c"),
)
#: Where a narrow page may break a line, other than behind a space.
_BREAKS = re.compile(r"(?<=[\w)])(?<!self)(?=\.\w)|(?<=\w[=(])(?=\w)|(?<=^\()(?=\w)")
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Span:
    """A piece of one line that is an element of its own.

    Attributes:
        line, start, end: Where it is, counted from 0.
        attributes: Of the element, as HTML.
    """

    line: int
    start: int
    end: int
    attributes: str


def lines_html(lines: list[str], spans: list[Span]) -> list[str]:
    """Colour the lines of a function.

    Args:
        lines: Of its source.
        spans: Elements in it. Of two that overlap, the first one is made.

    Returns:
        A piece of HTML for each line.

    Example:
        >>> lines_html(["return x  # <done>"], [Span(0, 7, 8, 'data-m="3"')])
        ['<i class="k">return</i> <span data-m="3">x</span>  <i class="c"># &lt;done&gt;</i>']
    """
    of_line: dict[int, list[Span]] = {}
    for span in spans:
        others = of_line.setdefault(span.line, [])
        if all(span.end <= other.start or other.end <= span.start for other in others):
            others.append(span)
    return [
        "".join(_line(tokens, sorted(of_line.get(i, []), key=lambda span: span.start)))
        for i, tokens in enumerate(_tokens(lines))
    ]


def _line(tokens: list[tuple[str, str]], spans: list[Span]) -> Iterator[str]:
    edges = [(one.start, f"<span {one.attributes}>") for one in spans]
    edges += [(one.end, "</span>") for one in spans]
    edges.sort(key=lambda edge: (edge[0], edge[1] != "</span>"))
    at = 0
    for kind, text in tokens:
        while text:
            while edges and edges[0][0] <= at:
                yield edges.pop(0)[1]
            # A token is cut where an element begins or ends inside of it.
            length = edges[0][0] - at if edges else len(text)
            part, text = text[:length], text[length:]
            at += len(part)
            if kind:
                yield f'<i class="{kind}">{escape(part)}</i>'
            else:
                yield _BREAKS.sub("<wbr>", escape(part))
    yield from (markup for _, markup in edges)


def _tokens(lines: list[str]) -> list[list[tuple[str, str]]]:
    """Part lines into tokens: the class of their colour, or nothing, and the text."""
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    found: list[list[tuple[str, str]]] = [[]]
    for token, text in lexer.get_tokens("\n".join(lines)):
        kind = _kind(token) if text.strip() else ""
        for i, part in enumerate(text.split("\n")):
            if i:
                found.append([])
            if not part:
                continue
            if found[-1] and found[-1][-1][0] == kind:
                found[-1][-1] = (kind, found[-1][-1][1] + part)
            else:
                found[-1].append((kind, part))
    return [list(_indented(line)) for line in found]


def _indented(line: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Make a token of the spaces that a line begins with."""
    for i, (kind, text) in enumerate(line):
        rest = text if i else text.lstrip(" ")
        if rest != text:
            yield "w", text[: len(text) - len(rest)]
        if rest:
            yield kind, rest


def _kind(token: Any) -> str:
    return next((kind for family, kind in _KINDS if token in family), "")


def argument_lines(lines: list[str]) -> dict[str, int]:
    """Find the line, counted from 0, on which a function names each of its arguments."""
    return {one.arg: one.lineno - 1 for one in _arguments(_definition(lines))}


def tensor_names(notes: dict[str, Any], shared: Container[int | None]) -> list[Span]:
    """Find the names of tensors that are passed on, where the source makes or reads them.

    Args:
        notes: From ``Notes.to_dict``.
        shared: The marks that are looked for.
    """
    definition = _definition(notes["lines"])
    found: list[tuple[ast.arg | ast.Name, str, int | None]] = []
    for one in _arguments(definition):
        found.append((one, one.arg, notes["arguments"].get(one.arg, {}).get("mark")))
    for name in _names(definition.body if definition else []):
        statement = _at(notes["statements"], name.lineno - 1)
        if isinstance(name.ctx, ast.Load):
            mark = statement.get("marks", {}).get(name.id)
        else:
            mark = statement.get("made", {}).get(name.id, {}).get("mark")
        found.append((name, name.id, mark))
    spans = []
    for node, text, mark in found:
        if mark in shared:
            line = notes["lines"][node.lineno - 1]
            start = len(line.encode()[: node.col_offset].decode())  # Python counts bytes
            spans.append(Span(node.lineno - 1, start, start + len(text), f'data-m="{mark}"'))
    return spans


def _definition(lines: list[str]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError:  # of a newer Python, which wrote the notes down
        return None
    return next((one for one in ast.walk(tree) if isinstance(one, _FUNCTIONS)), None)


def _arguments(definition: ast.FunctionDef | ast.AsyncFunctionDef | None) -> list[ast.arg]:
    if definition is None:
        return []
    of = definition.args
    several = [of.vararg, of.kwarg]
    return [*of.posonlyargs, *of.args, *of.kwonlyargs, *(one for one in several if one)]


def _at(statements: list[dict[str, Any]], line: int) -> dict[str, Any]:
    """The statement that a line belongs to; two on one line are the first of them."""
    return next((one for one in statements if one["first"] <= line <= one["last"]), {})


def _names(nodes: Iterable[ast.AST], hidden: frozenset[str] = frozenset()) -> Iterator[ast.Name]:
    """Walk over the names of a function; not over those of a scope inside of it."""
    for node in nodes:
        if isinstance(node, _SCOPES):
            continue
        own = hidden
        if isinstance(node, _COMPREHENSIONS):
            names = (one for one in ast.walk(node) if isinstance(one, ast.Name))
            own |= {one.id for one in names if isinstance(one.ctx, ast.Store)}
        if isinstance(node, ast.Name) and node.id not in own:
            yield node
        yield from _names(ast.iter_child_nodes(node), own)
