"""Prepared datasets within reach of this machine's memory: mapped where the storage is a folder, else copied to a cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from pyarrow import fs

from data.prepared.manifest import put_in_place
from data.prepared.prepared import MANIFEST
from data.reading.files import is_uri, open_filesystem


def cache_folder(storage: str) -> Path:
    """Where this machine keeps files of a storage that is no folder: below LSTM_RELAY_CACHE, or ~/.cache/lstm-relay."""
    cache = Path(os.environ.get("LSTM_RELAY_CACHE") or Path.home() / ".cache" / "lstm-relay")
    return cache / hashlib.sha256(storage.encode()).hexdigest()[:16]


class Shelf:
    """The prepared datasets of a storage; `home` is the folder of this machine that stands for the storage's own."""

    def __init__(self, storage: str):
        storage = storage.removeprefix("file://").rstrip("/")
        self.remote = f"{storage}/prepared" if is_uri(storage) else None
        self.home = cache_folder(storage) if self.remote else Path(storage).absolute()
        self.folder = self.home / "prepared"

    def fetch(self, fingerprint: str) -> Path:
        """The folder of a prepared dataset on this machine; where it is neither here nor in the storage, it is not made."""
        folder = self.folder / fingerprint
        if self.remote is None or (folder / MANIFEST).exists():
            return folder
        filesystem, inner = open_filesystem(f"{self.remote}/{fingerprint}")
        if filesystem.get_file_info(f"{inner}/{MANIFEST}").type == fs.FileType.File:
            scratch = self.folder / f".fetching-{uuid.uuid4().hex[:8]}"
            scratch.mkdir(parents=True)
            try:
                fs.copy_files(inner, str(scratch), source_filesystem=filesystem)
                put_in_place(scratch, folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return folder

    def keep(self, fingerprint: str) -> None:
        """Copy a prepared dataset to the storage, if it is not there; its manifest, which stands for the whole, last."""
        if self.remote is None:
            return
        filesystem, inner = open_filesystem(f"{self.remote}/{fingerprint}")
        if filesystem.get_file_info(f"{inner}/{MANIFEST}").type == fs.FileType.File:
            return
        files = sorted((self.folder / fingerprint).iterdir(), key=lambda file: file.name == MANIFEST)
        for file in files:
            fs.copy_files(str(file), f"{inner}/{file.name}", destination_filesystem=filesystem)

    def share(self, name: str) -> str:
        """Where all machines read what lies in the folders of `home`/`name`: there, or in a copy in the storage."""
        if self.remote is None:
            return str(self.home / name)
        address = f"{self.remote.rpartition('/')[0]}/{name}"
        filesystem, inner = open_filesystem(address)
        for file in (self.home / name).glob("[!.]*/*"):
            target = f"{inner}/{file.relative_to(self.home / name).as_posix()}"
            if filesystem.get_file_info(target).size != file.stat().st_size:
                fs.copy_files(str(file), target, destination_filesystem=filesystem)
        return address

    @contextlib.contextmanager
    def passage(self) -> Iterator[str | None]:
        """An address through which machines hand over what they prepare, gone afterwards; None: they write in place."""
        if self.remote is None:
            yield None
            return
        address = f"{self.remote}/.preparing-{uuid.uuid4().hex[:8]}"
        try:
            yield address
        finally:
            filesystem, inner = open_filesystem(address)
            if filesystem.get_file_info(inner).type == fs.FileType.Directory:
                filesystem.delete_dir(inner)


def hand_over(folder: Path, address: str) -> None:
    """Copy the files below a folder to an address."""
    filesystem, inner = open_filesystem(address)
    for file in folder.rglob("*"):
        if file.is_file():
            target = f"{inner}/{file.relative_to(folder).as_posix()}"
            fs.copy_files(str(file), target, destination_filesystem=filesystem)


def take_over(address: str, folder: Path) -> None:
    """Copy the files below an address into a folder."""
    filesystem, inner = open_filesystem(address)
    if filesystem.get_file_info(inner).type == fs.FileType.Directory:
        fs.copy_files(inner, str(folder), source_filesystem=filesystem)
