"""Prepared datasets on this machine: mapped in place if the storage is a local folder, otherwise copied to a cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from pathlib import Path

from pyarrow import fs

from data.prepared.manifest import MANIFEST, put_in_place
from data.prepared.origin import ORIGIN, write_origin
from data.reading.files import is_uri, open_filesystem
from data.writing import upload


def cache_home() -> Path:
    """Return the cache folder of this machine: LSTM_RELAY_CACHE, or ~/.cache/lstm-relay."""
    return Path(os.environ.get("LSTM_RELAY_CACHE") or Path.home() / ".cache" / "lstm-relay")


def cache_folder(storage: str) -> Path:
    """Return where this machine caches files of an object store."""
    return cache_home() / hashlib.sha256(storage.encode()).hexdigest()[:16]


class PreparedCache:
    """The prepared datasets of a storage; `home` is the local folder that mirrors the storage's `prepared` folder."""

    def __init__(self, storage: str):
        storage = storage.removeprefix("file://").rstrip("/")
        self.remote = f"{storage}/prepared" if is_uri(storage) else None
        self.home = cache_folder(storage) if self.remote else Path(storage).absolute()
        self.folder = self.home / "prepared"

    def fetch(self, fingerprint: str) -> Path:
        """Return the local folder of a prepared dataset, which need not exist.

        From an object store only the manifest is fetched; the parts follow when needed.
        """
        folder = self.folder / fingerprint
        if self.remote is None or (folder / MANIFEST).exists():
            return folder
        address = f"{self.remote}/{fingerprint}"
        filesystem, inner = open_filesystem(address)
        if filesystem.get_file_info(f"{inner}/{MANIFEST}").type == fs.FileType.File:
            scratch = self.folder / f".fetching-{uuid.uuid4().hex[:8]}"
            scratch.mkdir(parents=True)
            try:
                fs.copy_files(f"{inner}/{MANIFEST}", str(scratch / MANIFEST), source_filesystem=filesystem)
                write_origin(scratch, address)
                put_in_place(scratch, folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return folder

    def keep(self, fingerprint: str) -> None:
        """Copy a prepared dataset to the storage if it is missing; the manifest is written last."""
        if self.remote is None:
            return
        filesystem, inner = open_filesystem(f"{self.remote}/{fingerprint}")
        if filesystem.get_file_info(f"{inner}/{MANIFEST}").type == fs.FileType.File:
            return
        local_files = [file for file in (self.folder / fingerprint).iterdir() if file.name != ORIGIN]
        files = sorted(local_files, key=lambda file: file.name == MANIFEST)
        for file in files:
            upload(file, filesystem, f"{inner}/{file.name}")

    def share(self, name: str) -> str:
        """Return where all machines can read the folders of `home`/`name`: the path itself, or a copy in the storage."""
        if self.remote is None:
            return str(self.home / name)
        address = f"{self.remote.rpartition('/')[0]}/{name}"
        filesystem, inner = open_filesystem(address)
        for file in (self.home / name).glob("[!.]*/*"):
            target = f"{inner}/{file.relative_to(self.home / name).as_posix()}"
            if filesystem.get_file_info(target).size != file.stat().st_size:
                upload(file, filesystem, target)
        return address
