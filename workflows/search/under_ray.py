"""Run the trials that the store lacks with Ray Tune; Ray's messages go to the log of the search."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.connect import connect, quiet, write_log_to
from cluster.telling import telling
from cluster.trials import TrialPlacement
from workflows.loggers.heartbeat import Copy, beating
from workflows.search.run import Run
from workflows.store.store import Store


def run_under_ray(run: Run, name: str, address: str | None, placement: TrialPlacement) -> None:
    """Run the remaining trials of a search with Ray Tune."""
    store, context = run.store, run.context
    store.storage.create()
    connect(address)
    num_stages = max(len(variant.datasets) for variant in context.variants.values())
    with _log(store, name) as scratch, quiet("workflows.search.tuning"):
        from workflows.search.tuning import run_trials
        from workflows.training.channel import Channel

        with Channel(run.record_event) as emit:
            shared = "" if address is None else f"{store.address}/runs/{name}/.ray_tune"
            trial_context = dataclasses.replace(context, emit=emit, scratch=shared)
            with telling(run.report_idle):
                run_trials(trial_context, run.recipe.search, placement, run, num_stages, shared or str(scratch))


@contextlib.contextmanager
def _log(store: Store, name: str) -> Iterator[Path]:
    """Write Ray's messages to ray.log in the folder of the search, and yield a scratch folder."""
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        log = (Path(store.address) / "runs" / name if store.storage.local else Path(scratch)) / "ray.log"
        write_log_to(log)
        copy = Copy(store, name, log)
        try:
            with beating(copy):
                yield Path(scratch)
        finally:
            with contextlib.suppress(OSError):
                copy()
            store.storage.remove(f"runs/{name}/.ray_tune")
