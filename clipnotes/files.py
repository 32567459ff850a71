"""Write a file whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part."""
    # All goes down to the disk in another file, which is then renamed: a kill or a full disk leaves
    # the old file as it was. Renaming needs the same disk, so the other file lies beside it.
    beside = _beside(path, os.getpid())
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):  # it names the other file, or none if the disk is full
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files so that a reader finds all of them or none; an old one is replaced.

    A kill between two renames leaves the old folder beside, as ``.NAME.PID.old``.
    """
    made = [parent for parent in path.parents if not parent.exists()]
    beside, old = _beside(path, os.getpid()), path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        beside.mkdir(parents=True)
        for name, content in contents.items():
            write_atomically(beside / name, content)
        if path.exists():
            os.rename(path, old)  # no system replaces a folder that holds something
        try:
            os.rename(beside, path)
        except OSError:
            if old.exists():
                os.rename(old, path)
            raise
    except BaseException as error:
        shutil.rmtree(beside, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def check_writable(folder: Path, size: int) -> None:
    """Write so many bytes and take them away, before hours are spent on what follows."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    trial = folder / ".clipnotes-trial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(trial, bytes(size))
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}; nothing has been learned yet", str(folder)
        ) from error
    finally:
        with suppress(OSError):
            trial.unlink(missing_ok=True)
            for path in made:
                path.rmdir()


def remove_strays(path: Path) -> None:
    """Remove what killed processes left beside a file when they were writing it."""
    if os.name != "posix":
        return  # on Windows, asking whether a process runs would disturb it, so all files stay
    for stray in path.parent.glob(_beside(path, "*").name):
        pid = stray.name.split(".")[-2]
        if pid.isdecimal() and not _is_running(int(pid)):
            stray.unlink(missing_ok=True)


def _beside(path: Path, pid: int | str) -> Path:
    return path.with_name(f".{path.name}.{pid}.tmp")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and belongs to another user
        return True
    return True
