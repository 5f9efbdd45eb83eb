"""Prepare on a cluster: check it first, wait for free cores, and resume after the storage was unreachable."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cluster.connect import capacity, connect
from cluster.placement import Placement
from cluster.recovery import GiveUp, first_step
from cluster.watching import watching
from data.errors import InputError
from workflows.prepare.preparation import Prepared, prepare_datasets
from workflows.recipe.datasets import NOTHING_KEPT
from workflows.recipe.kept import KeptDataset
from workflows.recipe.recipe import Recipe
from workflows.relay.events import Noticed, Waiting
from workflows.relay.failures import RunFailedError
from workflows.store.probe import check_storage, probe
from workflows.store.storage import Storage

if TYPE_CHECKING:
    from workflows.relay.events import Emit

RETRIES = 3  # attempts of a preparation during which the storage was unreachable
ONE_CORE = Placement(1, 1, False, 1.0, "a task of the preparation")


def check_cluster(storage: Storage, address: str | None, emit: Emit) -> None:
    """Check the storage and every node of a cluster; raises InputError with all problems and what to do."""
    check_storage(storage, lambda words: emit(Waiting(words)))
    if address is not None:
        from cluster.versions import check_nodes

        connect(address)
        problems = check_nodes()
        if problems:
            raise InputError(problems)


def wait_for_a_core(emit: Emit) -> None:
    """Wait until a task can run: another job may use all cores, or the first machine is still being added."""
    from workflows.training.attempts import wait_for_room

    answer = wait_for_room(ONE_CORE, first_step(ONE_CORE, capacity()), emit)
    if isinstance(answer, GiveUp):
        raise RunFailedError(answer.why)


def prepare_on(
    recipe: Recipe,
    storage: Storage,
    address: str | None,
    emit: Emit,
    before: Callable[[], object] = lambda: None,
    kept: Mapping[str, KeptDataset] = NOTHING_KEPT,
) -> Prepared:
    """Check the storage and the nodes of a cluster, then prepare the datasets of a recipe (see prepare_watched)."""
    check_cluster(storage, address, emit)
    return prepare_watched(recipe, storage, address, emit, before, kept)


def prepare_watched(
    recipe: Recipe,
    storage: Storage,
    address: str | None,
    emit: Emit,
    before: Callable[[], object] = lambda: None,
    kept: Mapping[str, KeptDataset] = NOTHING_KEPT,
) -> Prepared:
    """Prepare the datasets of a recipe, as `prepare_datasets` does, on a cluster if an address names one.

    On a cluster, nodes that join or leave are reported, and every 15 s that the preparation continues. If the storage
    becomes unreachable, it waits and then prepares the missing datasets.
    """

    def begin() -> None:
        before()
        if address is not None:
            wait_for_a_core(emit)

    for attempt in range(RETRIES + 1):
        with contextlib.ExitStack() as stack:
            if address is not None:
                stack.enter_context(watching(lambda words: emit(Noticed(words)), "preparing the datasets"))
            try:
                return prepare_datasets(
                    recipe, storage.address, address, begin, kept, tell=lambda words: emit(Noticed(words))
                )
            except (OSError, InputError) as error:
                if storage.local or attempt == RETRIES or not (isinstance(error, OSError) or _away(storage)):
                    raise
                lines = str(error).strip().splitlines()
                reason = lines[-1][:300] if lines else type(error).__name__
        emit(Waiting(f"the storage {storage.address} failed during the preparation ({reason}); retrying"))
        time.sleep(1.0)
        check_storage(storage, lambda words: emit(Waiting(words)))
    raise AssertionError("the last attempt returns or raises")


def _away(storage: Storage) -> bool:
    return probe(storage)[-1].away
