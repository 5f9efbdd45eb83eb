"""Prepare in temporary folders and move the result to its address at once, or remove it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from data.prepared.manifest import MANIFEST, Manifest, put_in_place, scratch_folder
from data.prepared.origin import write_origin
from data.prepared.part_files import part_names
from data.reading.files import open_filesystem
from data.writing import upload


@dataclass(frozen=True)
class Attempt:
    """The folders of one preparation.

    `scratch` is a local folder, `address` the path or URI where tasks write: on any machine, if it is a URI. `home` and
    `remote` are the folders of prepared datasets on this machine and, if it is an object store, in the storage.
    """

    scratch: Path
    address: str
    home: Path
    remote: str | None

    def parts(self, fingerprint: str) -> str:
        """Return where the parts of a dataset are written."""
        return f"{self.address}/{fingerprint}"

    def begin(self, fingerprint: str) -> None:
        """Create the folder for the parts and the manifest of a dataset."""
        folder = self.scratch / fingerprint
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if self.remote is not None:
            write_origin(folder, self.parts(fingerprint))

    def commit(self, fingerprint: str) -> None:
        """Move a dataset with a finished manifest to its address, atomically for readers.

        In an object store the server copies its parts, and the manifest comes last.
        """
        if self.remote is not None:
            filesystem, inner = open_filesystem(self.parts(fingerprint))
            home = open_filesystem(f"{self.remote}/{fingerprint}")[1]
            for number in range(len(Manifest.read(self.scratch / fingerprint).parts)):
                for name in part_names(number):
                    filesystem.copy_file(f"{inner}/{name}", f"{home}/{name}")
            upload(self.scratch / fingerprint / MANIFEST, filesystem, f"{home}/{MANIFEST}")
            write_origin(self.scratch / fingerprint, f"{self.remote}/{fingerprint}")
        put_in_place(self.scratch / fingerprint, self.home / fingerprint)


@contextlib.contextmanager
def attempt(home: Path, remote: str | None) -> Iterator[Attempt]:
    """Yield an attempt; its folders are removed afterwards, also after an error."""
    with scratch_folder(home) as scratch:
        if remote is None:
            yield Attempt(scratch, str(scratch), home, None)
            return
        address = f"{remote}/{scratch.name}"
        try:
            yield Attempt(scratch, address, home, remote)
        finally:
            filesystem, inner = open_filesystem(address)
            if filesystem.get_file_info(inner).type == fs.FileType.Directory:
                filesystem.delete_dir(inner)
