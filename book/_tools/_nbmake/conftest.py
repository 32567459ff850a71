"""Lies beside the notebooks while `execute.py` runs them: any failure becomes the error of a cell.

When a kernel dies or a cell takes too long, nbmake throws away what the notebook had printed until
then, and the name of the cell. Here the cell that was at work gets an error among its outputs, as
if its own code had raised it, and nbmake writes the notebook.
"""

from typing import Any

import nbmake.nb_run
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_output


def at_work(notebook: NotebookNode) -> NotebookNode | None:
    """Return the cell that was begun and not finished, if there is one."""
    for cell in notebook.cells:
        times = cell.metadata.get("execution")
        if times is not None and "shell.execute_reply" not in times:
            return cell
    return None


class Client(nbmake.nb_run.NotebookClient):
    """Runs a notebook as nbclient does."""

    def execute(self, *args: Any, **kwargs: Any) -> NotebookNode:
        """Run all cells; an error that belongs to no cell is put to the one that was at work."""
        try:
            return super().execute(*args, **kwargs)
        except CellExecutionError:
            raise
        except Exception as error:
            cell = at_work(self.nb)
            if cell is None:  # none had begun: no kernel, for instance
                raise
            name, said = type(error).__name__, str(error).strip()
            trace = [f"{name}: {said}"]
            cell.outputs.append(new_output("error", ename=name, evalue=said, traceback=trace))
            raise CellExecutionError(trace[0], name, said) from error


nbmake.nb_run.NotebookClient = Client
