"""Report waits for a storage: an object store's client repeats a request for a minute silently."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from cluster.telling import telling
from workflows.store.storage import Storage


def telling_waits(storage: Storage, say: Callable[[str], object]) -> AbstractContextManager[None]:
    """Report every 15 s that an object store does not answer, until the context ends; folders are not watched."""
    if storage.local:
        return nullcontext()
    return telling(lambda waited: say(f"waiting for the storage {storage.address} since {waited:.0f} s"))
