"""Read and write the origin of a prepared dataset that this machine has only in part: where to fetch its files."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from data.writing import write_whole

MANIFEST = "manifest.json"
ORIGIN = "origin.json"


def write_origin(folder: Path, address: str) -> None:
    """Note the URI of the folder's files."""
    write_whole(folder / ORIGIN, json.dumps({"address": address}).encode())


def read_origin(folder: Path) -> str | None:
    """Return the URI of the folder's files; None if all of them are local."""
    with contextlib.suppress(FileNotFoundError):
        try:
            return str(json.loads((folder / ORIGIN).read_text())["address"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / ORIGIN} is damaged ({error!r})") from None
    return None
