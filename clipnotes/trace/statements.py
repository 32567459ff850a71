"""The statements of a function: which lines of its file are whose, and what each names."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_BRANCHES = (ast.If, ast.match_case, *_LOOPS)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Statement:
    """A statement, or the head of one that has others below it.

    Attributes:
        node: What Python's parser made of it.
        first, last: Its lines in the file. Of a statement with a body, those of the head.
        body: The lines of the body, from the first to the last; ``None`` without one.
        binds: The names that it gives a value to.
        reads: The names that it uses.
    """

    node: ast.stmt
    first: int
    last: int
    body: tuple[int, int] | None = None
    binds: list[str] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)

    @property
    def is_loop(self) -> bool:
        """Whether the body can run more than once."""
        return isinstance(self.node, _LOOPS)

    @property
    def in_one_line(self) -> bool:
        """Whether its body begins on its own last line, where lines tell nothing of the two."""
        return self.body is not None and self.body[0] <= self.last

    @property
    def is_text(self) -> bool:
        """Whether it is a text that stands for itself, as a docstring does."""
        value = getattr(self.node, "value", None)
        return isinstance(self.node, ast.Expr) and isinstance(value, ast.Constant)

    @property
    def is_branch(self) -> bool:
        """Whether it decides if the body runs."""
        return isinstance(self.node, _BRANCHES)


@dataclass
class Source:
    """The source of a function.

    Attributes:
        lines: As in the file, less the indentation of the ``def``.
        first: The number of the first of them in the file; decorators come before the ``def``.
        decorators: The expressions behind each ``@``, from the outermost to the innermost.
        statements: From top to bottom, also those inside of others; nested functions are one each.
        head: The lines of the ``def``, up to its colon.
        indent: How many columns of the file were taken away.
    """

    lines: list[str]
    first: int
    decorators: list[str]
    statements: list[Statement]
    head: tuple[int, int]
    indent: int

    def at(self, line: int) -> Statement | None:
        """Find the statement that a line of the file belongs to; of several, the innermost."""
        within = (s for s in self.statements if s.first <= line <= s.last)
        return max(within, key=lambda s: s.first, default=None)

    def callee(self, place: tuple[int | None, ...]) -> list[int] | None:
        """Find what is called at a place, such as ``self.encoder`` of ``self.encoder(x)``.

        Args:
            place: Of the call: first line, last line, first and last column, as Python's compiled
                code has them.

        Returns:
            First line, column, last line and column, counted in ``lines`` from 0.
        """
        for statement in self.statements:
            for node in ast.walk(statement.node) if statement.first <= (place[0] or 0) else ():
                if isinstance(node, ast.Call) and place == (
                    node.lineno,
                    node.end_lineno,
                    node.col_offset + self.indent,
                    (node.end_col_offset or 0) + self.indent,
                ):
                    name = node.func
                    return [
                        name.lineno - self.first,
                        self._column(name.lineno, name.col_offset),
                        (name.end_lineno or name.lineno) - self.first,
                        self._column(name.end_lineno or name.lineno, name.end_col_offset or 0),
                    ]
        return None

    def _column(self, line: int, offset: int) -> int:
        """Count letters where Python's parser counts bytes."""
        return len(self.lines[line - self.first].encode()[:offset].decode())


#: What :func:`source_lines` raises where there is no source that can be read.
UNREADABLE = (OSError, TypeError, SyntaxError, StopIteration)


def source_lines(code: CodeType) -> Source:
    """Read the source of a function and part it into statements.

    Args:
        code: Of a function that was written in Python, without its decorators.

    Raises:
        OSError: The source is nowhere to be found.

    Example:
        >>> source = source_lines(source_lines.__code__)
        >>> [statement.binds for statement in source.statements[1:3]]
        [['lines', 'first'], ['text_lines', 'indent']]
    """
    lines, first = inspect.getsourcelines(code)
    text_lines, indent = _dedented(lines)
    tree = ast.parse("\n".join(text_lines))
    ast.increment_lineno(tree, first - 1)
    definition = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == code.co_name
    )
    statements, end = list(_statements(definition.body)), _head_end(definition)

    def closed(last: int, body: int) -> int:
        """The line of the bracket behind which the colon stands."""
        while last + 1 < body and text_lines[last + 1 - first].lstrip()[:1] in (")", "]", "}"):
            last += 1
        return last

    for statement in statements:
        if statement.body:
            statement.last = closed(statement.last, statement.body[0])
    return Source(
        lines=text_lines,
        first=first,
        decorators=[ast.unparse(one) for one in definition.decorator_list],
        statements=statements,
        head=(definition.lineno, closed(end, definition.body[0].lineno)),
        indent=indent,
    )


def _dedented(lines: list[str]) -> tuple[list[str], int]:
    """Take away the indentation of the first line, and say how much that was.

    A comment, or a line of a text, may stand further left than the function that it is in.
    """
    margin = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    kept = [line.rstrip("\n").removeprefix(margin) if line.strip() else "" for line in lines]
    return kept, len(margin)


def _statements(body: list[ast.stmt]) -> Iterator[Statement]:
    """Walk over statements, each before those below it; not into functions of their own."""
    for node in body:
        if _is_declaration(node):
            continue
        inner = [] if isinstance(node, _FUNCTIONS) else _bodies(node)
        if not inner:
            yield _statement(node, node.end_lineno or node.lineno, None)
            continue
        lines = inner[0][0].lineno, inner[0][-1].end_lineno or inner[0][-1].lineno
        yield _statement(node, _head_end(node), lines)
        for block in inner:
            yield from _statements(block)


def _is_declaration(node: ast.stmt) -> bool:
    """Whether it only tells Python something: nothing runs there, and nothing is left out."""
    typed = isinstance(node, ast.AnnAssign) and node.value is None and bool(node.simple)
    return typed or isinstance(node, (ast.Global, ast.Nonlocal))


def _statement(node: ast.stmt, last: int, body: tuple[int, int] | None) -> Statement:
    statement = Statement(node, node.lineno, last, body)
    for one in _head(node):
        if isinstance(one, ast.Name):
            if isinstance(one.ctx, ast.Load):
                statement.reads.add(one.id)
            elif one.id not in statement.binds and isinstance(one.ctx, ast.Store):
                statement.binds.append(one.id)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        statement.reads.add(node.target.id)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        statement.binds += [(a.asname or a.name).split(".")[0] for a in node.names]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        statement.binds.append(node.name)
    return statement


def _head(node: ast.AST) -> Iterator[ast.AST]:
    """Walk over a statement without the statements below it, and without scopes of their own."""
    for name, value in ast.iter_fields(node):
        if name in ("body", "orelse", "finalbody", "handlers", "cases") and isinstance(value, list):
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, (*_FUNCTIONS, *_COMPREHENSIONS)):
                # What a comprehension binds is its own; what it reads may be the function's.
                names = (n for n in ast.walk(one) if isinstance(n, ast.Name))
                yield from (n for n in names if isinstance(n.ctx, ast.Load))
            elif isinstance(one, ast.AST):
                yield one
                yield from _head(one)


def _bodies(node: ast.stmt) -> list[list[ast.stmt]]:
    blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody")]
    parts = [*getattr(node, "handlers", []), *getattr(node, "cases", [])]
    blocks[1:1] = [part.body for part in parts]
    return [block for block in blocks if block]


def _head_end(node: Any) -> int:
    """The last line of what stands before the colon."""
    # The body may begin on the line of the colon, or below comments.
    ends = [end for one in _head(node) if (end := getattr(one, "end_lineno", None))]
    first = node.cases[0].pattern if isinstance(node, ast.Match) else node.body[0]
    start = min([first.lineno, *(one.lineno for one in getattr(first, "decorator_list", []))])
    return max(node.lineno, min(max(ends, default=node.lineno), max(start - 1, node.lineno)))
