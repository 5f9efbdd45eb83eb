"""A file that a person names to be written: refused where it cannot be, before the work that fills it; there at once."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

from data.errors import InputError


def check_file(option: str, path: str) -> None:
    """Raise InputError unless `path` can be a file, in words that begin with the option that names it."""
    target = Path(path).absolute()
    if target.is_dir():
        raise InputError(f"{option} {path}: this is a folder: write the name of a file in it")
    if not target.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}: make it, or name another file")


@contextlib.contextmanager
def appearing(path: str) -> Iterator[Path]:
    """A place to write to; what is there at the end appears at `path`, or else what was there before stands."""
    target = Path(path)
    scratch = target.with_name(f".{uuid.uuid4().hex[:8]}")
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def write_file(option: str, path: str, content: str) -> None:
    """Write text to a file, all at once; raises InputError where the system does not let it be written."""
    try:
        with appearing(path) as scratch:
            scratch.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{option} {path}: it cannot be written ({error.strerror}): name another file") from None
