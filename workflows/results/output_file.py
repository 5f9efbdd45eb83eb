"""Check output files that the user names before the work starts, and write them atomically."""

from __future__ import annotations

from pathlib import Path

from data.errors import InputError
from data.writing import write_whole


def check_file(option: str, path: str) -> None:
    """Raise InputError unless `path` can be a file; the message begins with the option that names it."""
    target = Path(path).absolute()
    if target.is_dir():
        raise InputError(f"{option} {path}: this is a folder: write the name of a file in it")
    if not target.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}: create it, or name another file")


def write_file(option: str, path: str, content: str) -> None:
    """Write text to a file atomically; raises InputError if the system does not allow it."""
    try:
        write_whole(Path(path), content.encode())
    except OSError as error:
        raise InputError(f"{option} {path}: it cannot be written ({error.strerror}): name another file") from None
