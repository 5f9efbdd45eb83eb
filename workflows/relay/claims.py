"""Decide which of two processes computes an epoch or evaluation; the other waits and reads it from the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from cluster.telling import TELL_S
from workflows.relay.actions import Action, Average, Evaluate, Initialise, Tell, Train
from workflows.relay.events import Emit, Waiting
from workflows.relay.lookup import look_up
from workflows.relay.plan import Plan
from workflows.store.leases import WAIT_LIMIT_S, Lease
from workflows.store.store import Store

PATIENCE_S = 10.0  # limit of a claim: the group's other workers wait for the first one and need an answer in time
SAY_AFTER_S = 2.0  # longer waits are reported, and then every TELL_S


@dataclass(frozen=True)
class Claim:
    """The store's answer to an action, or `granted` if this process computes it; neither if another process does."""

    answer: Any = None
    granted: bool = False


class Claims:
    """The claims of one walker, one action at a time."""

    def __init__(self, plan: Plan, store: Store, emit: Emit):
        self.plan, self.store, self.emit = plan, store, emit
        self.lease: Lease | None = None
        self.last_message = float("-inf")
        self.waiting_for = ""
        self.since = 0.0

    def claim(self, action: Action) -> Claim:
        """Wait for the store's answer or for the lease; return neither after PATIENCE_S."""
        started = time.monotonic()
        self.release()
        if self.waiting_for != lease_name(action):
            self.waiting_for, self.since, self.last_message = lease_name(action), started, float("-inf")
        while True:
            answer = look_up(action, self.plan, self.store)
            if answer is not None:
                return Claim(answer)
            if not self.store.storage.exclusive or time.monotonic() - self.since > WAIT_LIMIT_S:
                return Claim(granted=True)
            self.lease = self.store.leases.try_acquire(lease_name(action))
            if self.lease is not None:
                answer = look_up(
                    action, self.plan, self.store
                )  # the other process may have stored it before releasing its lease
                if answer is None:
                    return Claim(granted=True)
                self.release()
                return Claim(answer)
            if time.monotonic() - self.since > SAY_AFTER_S:
                self._tell(action)
            if time.monotonic() - started > PATIENCE_S:
                return Claim()
            time.sleep(self.store.leases.poll_seconds)

    def release(self) -> None:
        """Release the lease, if there is one."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None

    def _tell(self, action: Action) -> None:
        now = time.monotonic()
        if now - self.last_message >= TELL_S:
            self.last_message = now
            activity = "trains this epoch" if isinstance(action, Train) else "measures this"
            self.emit(Waiting(f"another process {activity}: waiting for it since {now - self.since:.0f} s"))


def lease_name(action: Action) -> str:
    """Return the name of the lease for an action, the same in every process."""
    assert not isinstance(action, Tell)
    if isinstance(action, (Initialise, Average)):
        return f"{action.key}-train"
    if isinstance(action, Train):
        return f"{action.epoch.key}-train"
    assert isinstance(action, Evaluate)
    return f"{action.key}-{action.split}"
