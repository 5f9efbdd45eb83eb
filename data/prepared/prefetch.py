"""Fetch the parts of the next dataset during training on the current one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path

from data.errors import FailedError
from data.prepared.eviction import has_room, limit_bytes
from data.prepared.part_files import PartFiles
from data.prepared.prepared import PreparedDataset


class Prefetch:
    """Fetches one dataset at a time in a thread; errors are left to the process that reads the rows."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._asked: set[Path] = set()

    def start(self, dataset: PreparedDataset, in_use: Sequence[PreparedDataset]) -> None:
        """Fetch the absent files of a dataset, if it fits beside the datasets in use.

        Does nothing if all files are local, or while another dataset is being fetched.
        """
        files = dataset.files
        if files.origin is None or dataset.folder in self._asked or (self._thread is not None and self._thread.is_alive()):
            return
        self._asked.add(dataset.folder)
        absent = [name for name in files.names if not (dataset.folder / name).exists()]
        if absent and _fits(dataset, in_use, absent):
            # Separate PartFiles, so that no other thread changes their notes meanwhile.
            files_of_thread = PartFiles(dataset.folder, dataset.manifest.parts)
            self._thread = threading.Thread(target=self._fetch, args=(files_of_thread, absent), daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until the requested dataset is local."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """Stop after the file being fetched; `start` begins again."""
        self._ended.set()
        self.wait()
        self._ended.clear()

    def _fetch(self, files: PartFiles, names: Sequence[str]) -> None:
        with contextlib.suppress(OSError, FailedError):
            for name in names:
                if self._ended.is_set():
                    return
                files.open(name)


def _fits(dataset: PreparedDataset, in_use: Sequence[PreparedDataset], absent: Sequence[str]) -> bool:
    """Return whether the dataset fits beside those in use without evicting any of them."""
    folders = {each.folder: each for each in [dataset, *in_use]}
    together = sum(size for each in folders.values() for size, _ in each.files.known.values())
    cache = dataset.folder.parents[2]
    return together <= limit_bytes() and has_room(cache, sum(dataset.files.known[name][0] for name in absent))
