"""Write a file whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old content or the new one, never a part.

    The content goes into a file beside it, down to the disk, and is then renamed. A kill or a full
    disk leaves the old file as it was.

    Args:
        path: The file, in a folder that exists.
        content: All of it.

    Raises:
        OSError: The system refuses; what was there before is still there.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "note.txt")
        >>> write_atomically(path, b"whole")
        >>> path.read_bytes()
        b'whole'
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # renaming needs the same disk
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
