"""Start one of the programs that make the book.

    python book/_tools                 list them
    python book/_tools NAME [WORD ...]

This puts the folder above on Python's path, since the programs import each other as `_tools.NAME`.
"""

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def programs() -> dict[str, str]:
    """Return the first line of each program's docstring, by the name that starts the program."""
    first_lines = {}
    for path in sorted(FOLDER.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if '\nif __name__ == "__main__":' in source and path != Path(__file__).resolve():
            name = ".".join(path.relative_to(FOLDER).with_suffix("").parts)
            docstring = ast.get_docstring(ast.parse(source)) or ""
            first_lines[name] = docstring.partition("\n")[0]
    return first_lines


def main() -> int:
    """Start the program that the first word names."""
    known = programs()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        print(f"no program {sys.argv[1]!r}\n" if len(sys.argv) > 1 else __doc__)
        for name, first_line in known.items():
            print(f"  {name:18} {first_line}")
        return len(sys.argv) > 1
    sys.path[0] = str(FOLDER.parent)
    runpy.run_module(f"_tools.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
