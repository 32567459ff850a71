"""A copy of the working tree, as a git repository: what a push of it would give to a reader."""

import shutil
import subprocess
from pathlib import Path

from _tools import ROOT


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder, and return what it says."""
    names = ("-c", "user.name=clipnotes", "-c", "user.email=clipnotes@localhost")
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def snapshot(folder: Path) -> None:
    """Copy what git knows or would add, and commit it there."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():  # a file may be deleted and not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "the working tree")
