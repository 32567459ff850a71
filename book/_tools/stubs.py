"""Write each exercise's stub, the cell that a reader fills in, from the exercise's solution.

The solution is the single source: a code cell tagged `[hide-cell, solution]`. Above it stands the
stub, tagged `[exercise]`, made from it by these rules:

- of a function, the head and the docstring stay, and the rest becomes `...  # your code`;
- of `name = value`, the value becomes `...  # your answer`;
- imports stay, and so does a statement whose last line ends with the comment `# given`;
- `assert check("3.1", name)`, the last line, becomes `check("3.1", name)`;
- all else is dropped.

`python book/_tools pairs` (`make sync`) comes here first.
"""

import ast
import itertools

from _tools.chapters import blocks

STUB = "```{code-cell} ipython3\n:tags: [exercise]\n"


class NoStub(ValueError):
    """A solution from which no stub can be made."""


def renew(text: str) -> str:
    """Return a chapter with the stub that belongs to it above each solution."""
    cells = list(blocks(text))
    for before, cell in reversed(list(itertools.pairwise([None, *cells]))):
        if cell is None or "solution" not in cell.tags:
            continue
        start = cell.start
        if before and before.tags == ["exercise"] and not text[before.end : start].strip():
            start = before.start
        text = f"{text[:start]}{STUB}\n{stub(cell.code)}\n```\n\n{text[cell.start :]}"
    return text


def solutions(text: str) -> list[str]:
    """Return the code of a chapter's solutions, in order."""
    return [cell.code.strip("\n") for cell in blocks(text) if "solution" in cell.tags]


def stub(solution: str) -> str:
    """Make a stub from a solution; a NoStub says where the solution breaks the rules."""
    lines = solution.splitlines()
    *statements, last = ast.parse(solution).body or [ast.Pass()]
    parts: list[tuple[ast.stmt, str]] = []
    for node in statements:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        written = lines[first - 1 : node.end_lineno]
        if isinstance(node, (ast.Import, ast.ImportFrom)) or written[-1].endswith("# given"):
            parts.append((node, "\n".join(written)))
        elif isinstance(node, ast.FunctionDef):
            parts.append((node, head(node, written, first)))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            parts.append((node, f"{node.targets[0].id} = ...  # your answer"))
        elif isinstance(node, ast.ClassDef):
            raise NoStub(f"line {node.lineno}: a class; ask for a function instead")
    if not any("...  # your" in kept for _, kept in parts):
        raise NoStub(f"nothing would be left to do in the stub of:\n{solution}")
    if not isinstance(last, ast.Assert) or not is_check(last.test):
        raise NoStub(f'the last statement is not `assert check("3.1", name)` in:\n{solution}')
    parts.append((last, ast.get_source_segment(solution, last.test) or ""))
    text = parts[0][1]
    for (before, _), (after, kept) in itertools.pairwise(parts):
        text += "\n" * (1 + blank_lines(before, after)) + kept
    return text


def blank_lines(before: ast.stmt, after: ast.stmt) -> int:
    """Return how many blank lines the formatter wants between two statements."""
    if isinstance(before, ast.FunctionDef) or isinstance(after, ast.FunctionDef):
        return 2
    imports = (ast.Import, ast.ImportFrom)
    return int(isinstance(before, imports) and not isinstance(after, imports))


def head(node: ast.FunctionDef, lines: list[str], first: int) -> str:
    """Return a function up to the end of its docstring, and the place for the rest."""
    begins = node.body[0]
    if begins.lineno == node.lineno:
        raise NoStub(f"line {node.lineno}: write the body of `{node.name}` on a line of its own")
    indent = " " * begins.col_offset
    if ast.get_docstring(node) is None:
        kept = lines[: begins.lineno - first]
        while kept[-1].lstrip().startswith("#"):  # a comment on the first step
            kept.pop()
    else:
        kept = lines[: (begins.end_lineno or begins.lineno) - first + 1]
    return "\n".join([*kept, f"{indent}...  # your code"])


def is_check(node: ast.expr) -> bool:
    """Say whether an expression is a call of `check`."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
    )
