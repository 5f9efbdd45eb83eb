"""Store files in a local folder, or at any address that PyArrow's filesystems reach (s3://, gs://).

A published folder appears completely or not at all. On a disk this is a rename. An object store has no rename, so there
the file that names the others is written last, and only if it does not exist yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from data.errors import InputError
from data.reading.files import is_uri


class Storage(Protocol):
    """Reads and writes files by relative paths with slashes."""

    address: str
    local: bool  # reads are cheap, and a folder appears and disappears at once by a rename

    @property
    def exclusive(self) -> bool:
        """Return whether exactly one of many processes succeeds in creating or taking over a file."""

    def create(self) -> None:
        """Create the storage folder if it is missing."""

    def read(self, path: str) -> bytes:
        """Return the content of a file; raises FileNotFoundError if it does not exist.

        Raises IsADirectoryError if the path is a folder or a broken link.
        """

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically: a reader sees all of it or the previous content."""

    def create_file(self, path: str, content: bytes) -> bool:
        """Write a file unless it exists; returns whether it was written. Readers see all of it or nothing."""

    def take_over(self, path: str, expected: bytes, content: bytes) -> bool:
        """Replace a file if it still has the content `expected`; returns whether it was replaced."""

    def publish(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """Write a folder so that a reader that sees its last file sees all of them; returns whether it was written.

        A folder that already has this last file stays unchanged. On a disk, so does any folder that is not empty.
        """

    def names(self, folder: str) -> list[str]:
        """Return the names directly in a folder, sorted; none if there is no folder."""

    def size(self, folder: str) -> int:
        """Return the bytes of a file, or of all files below a folder."""

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all its content, if it exists."""

    def withdraw(self, folder: str, to: str, names: Sequence[str]) -> None:
        """Move a folder to a path that does not exist; readers see all of it or nothing at its old path.

        `names` are its files, beginning with the one that completes it: an object store moves only these, and removes
        that one first.
        """

    def put_back(self, folder: str, to: str, last: str) -> None:
        """Undo a `withdraw`; if `to` exists again, the folder is deleted instead."""


def open_storage(address: str) -> Storage:
    """Return the storage at a path or an address; raises InputError for an invalid address."""
    address = checked_address(address)
    if is_uri(address):
        from workflows.store.object_storage import ObjectStorage

        return ObjectStorage(address)
    from workflows.store.local_storage import LocalStorage

    return LocalStorage(address)


def checked_address(address: str) -> str:
    """Return a path, with ~ expanded, or a URI with a bucket and without keys; file:// becomes a path."""
    scheme, mark, rest = address.partition("://")
    host, _, path = rest.partition("/")
    if not mark:
        expanded = os.path.expanduser(address)
        if address.startswith("~") and expanded == address:
            raise InputError(f"--storage {address}: there is no such home directory: write the whole path")
        return expanded
    if "@" in host or "secret" in path.lower():
        raise InputError(
            f"--storage {scheme}://***: an address with keys would be written into logs and results: set them in the "
            "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) and leave them out"
        )
    if scheme == "file":
        if host not in ("", "localhost"):
            raise InputError(f"--storage {address}: a file of the machine {host!r} cannot be reached: write file:///path")
        return f"/{path}"
    if not host:
        raise InputError(f"--storage {address}: it has no bucket (is a variable empty?): write {scheme}://BUCKET/PREFIX")
    return address
