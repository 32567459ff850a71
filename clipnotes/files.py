"""Write a file whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part.

    The content goes into a file beside it, down to the disk, and is then renamed. A kill or a full
    disk leaves the old file as it was.

    Args:
        path: The file, in a folder that exists.
        content: All of it.

    Raises:
        OSError: The system refuses; it names the file, and what was there before is still there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "note.txt")
        >>> write_atomically(path, b"whole")
        >>> path.read_bytes()
        b'whole'
    """
    beside = _beside(path, os.getpid())  # renaming needs the same disk
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):  # of a full disk it names nothing, else what is beside
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def check_writable(folder: Path, size: int) -> None:
    """Write so many bytes into a folder and take them away, before hours are spent on what follows.

    Args:
        folder: Need not be there, and is not there afterwards if it was not.
        size: In bytes.

    Raises:
        OSError: The folder cannot be made or written to, or the disk has too little room.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp(), "new", "prompt")
        >>> check_writable(folder, 1000)
        >>> folder.parent.exists()
        False
    """
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
    """Remove what killed processes left beside a file when they were writing it.

    A process that is still there may be writing, so its file stays. On Windows, where asking would
    disturb it, all stay.

    Args:
        path: The file that was to be written.

    Example:
        >>> import tempfile
        >>> remove_strays(Path(tempfile.mkdtemp(), "note.txt"))
    """
    if os.name != "posix":
        return
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
    except OSError:  # somebody else's process
        return True
    return True
