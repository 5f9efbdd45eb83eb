"""List what runs and searches need from a store: the states that their records refer to, and prepared datasets."""

from __future__ import annotations

import time
from dataclasses import dataclass

from data.records import DamagedRecordError, Json
from workflows.store.run_record import RUN, read_record, read_run
from workflows.store.storage import Storage

RUN_FILES = ("progress.json", "search.json", "searching.json")  # beside the result
RUNNING_S = 3600.0  # a run writes its progress after every epoch; one that is silent for longer counts as dead


@dataclass(frozen=True)
class Needs:
    """The needs of one record. `key` is its last state, or, before its first epoch, the state it starts from.

    `states` are its other states, `rejected` the attempts that the guard did not keep. `has_ended`: the record is a result.
    `has_epochs`: it has not ended, but the state `key` is trained. `since` is the Unix time at which a running run started,
    0 for a running search (its trials may use any epoch of the store), None if it is not running.
    """

    name: str
    key: str | None
    states: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()
    has_ended: bool = False
    has_epochs: bool = False
    since: float | None = None


def needs_of_files(storage: Storage, name: str, file: str | None = None) -> list[Needs]:
    """Return the needs of a run's result, or of another of its files; empty if there is no such file.

    Raises DamagedRecordError for a file that cannot be read.
    """
    if file is not None:
        content = read_record(storage, f"runs/{name}/{file}")
    else:
        ended = read_run(storage, name)
        content = None if ended is None else ended.result
    try:
        return [] if content is None else [_needs_of(name, content)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedRecordError(f"runs/{name}/{file or RUN}: {type(error).__name__}: {error}") from None


def _needs_of(name: str, content: Json) -> Needs:
    stages = content.get("stages", [])
    of_stages = [key for stage in stages for key in [*stage["keys"], stage.get("key")] if key is not None]
    running = content["status"] == "running" and time.time() - float(content["when"]) < RUNNING_S
    return Needs(
        name=name,
        key=content.get("key"),
        states=(*of_stages, *content.get("kept", [])),
        rejected=tuple(_rejected(content)),
        prepared=tuple(content.get("prepared", [])),
        has_ended="stages" in content,
        has_epochs="stages" not in content and bool(content.get("epochs_reached")),
        since=None if not running else 0.0 if "trials_asked" in content else float(content["started"]),
    )


def _rejected(content: Json) -> list[str]:
    """Return the states of attempts that the guard did not keep: training the run again looks them up again."""
    return [
        attempt["key"]
        for verdict in content.get("guard", [])
        for number, attempt in enumerate(verdict["attempts"], 1)
        if number != verdict["kept"] or verdict["action"] == "stop"
    ]
