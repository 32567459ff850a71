"""Chapters on copies of the package, each in a process of its own that has the libraries already.

Importing torch and transformers takes longer than most chapters. This program, started once, does
it once; for each job, a line on stdin, it forks. The child imports the package from the job's
folder, runs the chapter, and writes how that ended; nothing of it comes back into this process.
"""

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

#: What takes long to import; what is missing here is imported in each child. Nothing of
#: the package, and nothing that imports it.
LIBRARIES = (
    "torch",
    "torch._dynamo",
    "transformers.models.clip.modeling_clip",
    "datasets",
    "sklearn.linear_model",
    "matplotlib.pyplot",
    "IPython.core.interactiveshell",
    "_tools.chapters",
)


def come_through(source, before=""):
    """Run the cells of a chapter until one fails: how that ended, and what `WRONG` holds then."""
    from IPython.core.interactiveshell import InteractiveShell

    import clipnotes
    from _tools.chapters import code_cells, read, tags

    assert Path(clipnotes.__file__).parents[1] == Path.cwd(), clipnotes.__file__
    shell = InteractiveShell.instance()
    run = [cell.source for cell in code_cells(read(source)) if "skip-execution" not in tags(cell)]
    for code in [before, *run]:
        done = shell.run_cell(code)
        if error := done.error_before_exec or done.error_in_exec:
            return f"stopped by {type(error).__name__}", None
    return "came through", shell.user_ns.get("WRONG")


def child(folder, source, before):
    """Write how a chapter ended into the copy's folder; return an exit code."""
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
    sys.path.insert(0, folder)
    # For the processes that a chapter starts.
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ["PYTHONPATH"]])
    os.environ["IPYTHONDIR"] = str(Path(folder) / "ipython")
    try:
        Path("ending.json").write_text(json.dumps(come_through(Path(source), before)))
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main():
    """Answer each job on stdin with the exit code of its child, a line on stdout."""
    sys.path.remove(str(Path(__file__).resolve().parent))  # a script's own: it has common names
    import matplotlib as mpl

    mpl.use("Agg")
    for name in LIBRARIES:
        importlib.import_module(name)
    assert "clipnotes" not in sys.modules
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(child(**json.loads(line)))
        print(os.waitpid(pid, 0)[1], flush=True)
    os._exit(0)  # nothing to tidy up, and that takes seconds


class Warmed:
    """The program, as a test sees it; it starts with the first job."""

    def __init__(self, path):
        self.path, self.process = path, None

    def run(self, folder, source, before=""):
        """Run a chapter on the package in a folder: how it ended, and what `WRONG` held."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                env=os.environ | {"PYTHONPATH": str(self.path), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        job = {"folder": str(folder), "source": str(source), "before": before}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        code = self.process.stdout.readline().strip()
        assert code == "0", f"{code}: {(folder / 'stderr').read_text()}"
        return tuple(json.loads((folder / "ending.json").read_text()))

    def close(self):
        """End the program."""
        if self.process is not None:
            self.process.stdin.close()
            assert self.process.wait() == 0


if __name__ == "__main__":
    main()
