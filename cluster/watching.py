"""Messages about nodes that join or are lost during a run, with the reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cluster.capacity import name_of
from cluster.telling import TELL_S

LOOK_S = 2.0  # between two looks at the nodes


def changes(before: Mapping[str, str], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a message for each change in `ray.nodes()`; `before` has the names by id of the nodes alive before."""
    alive = {str(node["NodeID"]): name_of(node) for node in nodes if node["Alive"]}
    reasons = {str(node["NodeID"]): str(node.get("DeathReasonMessage") or "").strip() for node in nodes}
    lost = [
        f"node {name} was lost" + (f" ({_short(reasons[number])})" if reasons.get(number) else "")
        for number, name in before.items()
        if number not in alive
    ]
    return [*lost, *(f"node {name} was added" for number, name in alive.items() if number not in before)]


def _short(reason: str) -> str:
    if "health check" in reason:
        return "it no longer answers"
    if "Terminated" in reason or "terminated" in reason or "drain" in reason:
        return "it was shut down"
    return reason.splitlines()[0][:120]


@contextmanager
def watching(say: Callable[[str], None], doing: str = "") -> Iterator[None]:
    """Report nodes that join or are lost, and `doing` every 15 s, until the context ends.

    Ray is not called after that: a call in progress while a process leaves Ray would end the process.
    """
    import ray

    ended, started, last_message = threading.Event(), time.monotonic(), time.monotonic()
    known = {str(node["NodeID"]): name_of(node) for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]

    def look() -> None:
        nonlocal known, last_message
        while not ended.wait(LOOK_S):
            try:
                nodes = ray.nodes()  # type: ignore[no-untyped-call]
            except Exception:  # the cluster is gone: the run itself reports it
                return
            for words in changes(known, nodes):
                say(words)
            known = {str(node["NodeID"]): name_of(node) for node in nodes if node["Alive"]}
            if doing and time.monotonic() - last_message >= TELL_S:
                last_message = time.monotonic()
                cores = sum(float(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"])
                say(f"{doing} since {last_message - started:.0f} s, on {len(known)} nodes with {cores:g} cores")

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=30)
