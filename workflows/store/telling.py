"""Waiting for a storage is told: the client of an object store repeats a request for a minute without a word."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from cluster.telling import telling
from workflows.store.storage import Storage


def telling_waits(storage: Storage, say: Callable[[str], object]) -> AbstractContextManager[None]:
    """Say every 15 s that an object store does not answer, until the context ends; a folder is not asked to."""
    if storage.local:
        return nullcontext()
    return telling(lambda waited: say(f"waiting for the storage {storage.address} since {waited:.0f} s"))
