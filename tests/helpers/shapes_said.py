"""Whether the shapes that a chapter's comments give are those of what its cells make."""

import re

#: A line that says the shape of what it makes, outside of functions.
SAID = re.compile(r"^(?P<name>\w+) = .*  # \((?P<sizes>[^()]*)\)(?:[.,:;].*)?$", re.MULTILINE)

#: A cell: from then on, what is not as it was said is in `WRONG`.
HOOK = f'''
import re
SAID = re.compile({SAID.pattern!r}, re.MULTILINE)
WRONG = []

def shapes_are_as_said(result):
    """Compare the shapes that a cell says with those of what it made."""
    cell = result.info.raw_cell or ""
    for said in SAID.finditer(cell):
        if re.search(rf"^ *{{said['name']}}\\b.* = ", cell[said.end():], re.MULTILINE):
            continue  # it means something else at the end of the cell
        value = get_ipython().user_ns.get(said["name"])
        sizes = [size.strip() for size in said["sizes"].split(",") if size.strip()]
        if not hasattr(value, "shape"):
            continue
        line = (said[0].strip(), tuple(value.shape))
        if len(sizes) != len(value.shape):
            WRONG.append(line)
            continue
        known = {{}}
        for size, number in zip(sizes, value.shape):
            if known.setdefault(size, number) != number or size.isdigit() and int(size) != number:
                WRONG.append(line)
            if size == "N" and round(number**0.5) ** 2 != number:
                WRONG.append(line)  # patches make a square

get_ipython().events.register("post_run_cell", shapes_are_as_said)
'''
