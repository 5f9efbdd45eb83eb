"""Walk the relay as a worker: read results from the store; train, evaluate and commit the missing ones."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from data.prepared.encoding import EncodedDataset
from workflows.fit.group import Group
from workflows.fit.joint import Joint
from workflows.fit.lanes import Lane
from workflows.fit.learner import Learner
from workflows.relay.actions import Action, Average, Evaluate, Initialise, Tell, Train
from workflows.relay.ahead import Ahead
from workflows.relay.claims import Claims
from workflows.relay.errors import errors_of
from workflows.relay.events import (
    Damaged,
    Emit,
    EpochStarted,
    EvaluationDone,
    EvaluationStarted,
    Guarded,
    StepDone,
    Waiting,
    epoch_done,
)
from workflows.relay.guard import report_of
from workflows.relay.lookup import measured
from workflows.relay.plan import Epoch, Plan
from workflows.relay.relay import Outcome, drive_stages, relay
from workflows.relay.retention import Memory
from workflows.relay.state import commit_average, first_model, load_state, state_of, unchanged_heads
from workflows.store.kept import EpochRecord, Errors
from workflows.store.store import DamagedCheckpointError, Store
from workflows.store.telling import telling_waits

STORE_PATIENCE_S = 60.0  # wait for an unreachable store
STORE_RETRY_S = 2.0
HOPELESS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}  # waiting does not help
MAX_DAMAGED = 100  # damaged checkpoints before a walk gives up


class StoreError(Exception):
    """The store could not be read or written."""


@dataclass
class Report:
    """The keys of the epochs that a walk trained; their cost is in its events."""

    epochs: list[str] = field(default_factory=list)


class Walker:
    """One worker walking a plan. All workers of the group take the same steps."""

    def __init__(
        self,
        plan: Plan,
        datasets: Sequence[EncodedDataset],
        store: Store,
        group: Group,
        emit: Emit,
        device: str = "cpu",
        evaluated: Callable[[EvaluationDone], None] = lambda done: None,
        lane: Lane | None = None,
    ):
        self.evaluated = evaluated  # called by every worker at the same point
        self.plan, self.datasets, self.store, self.group = plan, datasets, store, group
        self.emit: Emit = emit if group.rank == 0 else lambda event: None
        self.report = Report()
        self.learner = Learner(first_model(plan), plan.model, plan.training, group, device, lane)
        self.state_key = ""  # address of the learner's state, if it has one
        self.claims = Claims(plan, store, self.emit)
        self.memory = Memory(plan, datasets, store, group, device, self._first_does)
        self.ahead = Ahead(plan, datasets)

    def walk(self) -> Report:
        """Train and evaluate everything that the store lacks."""
        for _ in self.stages():
            pass
        return self.report

    def stages(self) -> Iterator[Outcome]:
        """Walk like `walk`, and yield the outcome so far after each stage; the last outcome is complete and tested."""
        num_yielded = 0
        with self.ahead:
            for _ in range(MAX_DAMAGED):
                with contextlib.suppress(DamagedCheckpointError):  # it has been set aside; its epoch is retrained
                    for outcome in drive_stages(relay(self.plan), self.answer):
                        if outcome.test or len(outcome.stages) > num_yielded:
                            num_yielded = len(outcome.stages)
                            yield outcome
                    return
        raise StoreError(f"{self.store.address}: {MAX_DAMAGED} checkpoints were damaged: check the disk")

    def answer(self, action: Action) -> Any:
        """Return the store's answer to an action, or compute it; only one group at a time does an action."""
        if isinstance(action, Tell):
            self.emit(Guarded(report_of(action.verdict, self.plan), action.over))
            return True
        while True:
            claim = self._first_does(lambda: self.claims.claim(action))
            if claim.answer is not None:
                return claim.answer
            if claim.granted:
                break
        try:
            if isinstance(action, Initialise):
                return self._initialise(action.key)
            if isinstance(action, Train):
                return self._train(action.epoch)
            if isinstance(action, Average):
                return self._average(action)
            return self._evaluate(action)
        finally:
            self.claims.release()

    def _first_does(self, work: Callable[[], Any]) -> Any:
        """Run work on the first worker and return its result on all; if it fails, all fail."""
        result: Any = None
        if self.group.rank == 0:
            try:
                result = ("done", self._with_retries(work))
            except DamagedCheckpointError as error:
                result = ("damaged", str(error))
            except OSError as error:
                result = ("failed", f"the store {self.store.address} cannot be used: {error}")
            for message in self.store.set_aside_now:
                self.emit(Damaged(message))
            self.store.set_aside_now.clear()
        outcome, value = self.group.from_first(result)
        if outcome == "damaged":
            raise DamagedCheckpointError(value)
        if outcome == "failed":
            raise StoreError(value)
        return value

    def _with_retries(self, work: Callable[[], Any]) -> Any:
        """Run work on the store, and retry for STORE_PATIENCE_S if the store cannot be reached."""
        started = time.monotonic()
        while True:
            try:
                with telling_waits(self.store.storage, lambda words: self.emit(Waiting(words))):
                    return work()
            except OSError as error:
                if error.errno in HOPELESS or time.monotonic() - started > STORE_PATIENCE_S:
                    raise
                self.emit(Waiting(f"waiting for the storage {self.store.address}: {error}"))
                time.sleep(STORE_RETRY_S)

    def _commit(self, record: EpochRecord, heads: Collection[str] = (), stage: int = 0) -> EpochRecord:
        """Commit the learner's state. If another process was faster, its state is loaded before the next epoch.

        `heads` are the head corrections of the state before, `stage` the stage of the epoch.
        """

        def commit() -> tuple[EpochRecord, bool]:
            known = replace(record, heads=unchanged_heads(self.plan, stage, heads, record.parent, self.store.record))
            return self.store.commit(record.key, state_of(self.learner), known)

        committed: EpochRecord
        committed, is_ours = self._first_does(commit)
        self.state_key = record.key if is_ours else ""
        return committed

    def _initialise(self, key: str) -> EpochRecord:
        plan, device = self.plan, str(self.learner.device)
        self.learner = Learner(first_model(plan), plan.model, plan.training, self.group, device, self.learner.lane)
        return self._commit(EpochRecord(key, None))

    def _load(self, key: str) -> None:
        """Load the state of a checkpoint into the learner."""
        if key != self.state_key:
            load_state(self.learner, self._first_does(lambda: self.store.load(key)))
            self.state_key = key

    def _train(self, epoch: Epoch) -> EpochRecord:
        plan, dataset = self.plan, self.datasets[epoch.dataset]
        stage = plan.stages[epoch.stage]
        self._load(epoch.parent)
        if epoch.reset_optimizer:
            self.learner.reset_optimizer()
        total = dataset.num_samples("train")
        self.ahead.fetch(epoch.stage)
        self.emit(EpochStarted(epoch.stage, epoch.number, dataset.name, total))
        reported = time.monotonic()

        def on_step(step: int, seen: int) -> None:
            nonlocal reported
            if time.monotonic() - reported > 0.5:
                reported = time.monotonic()
                self.emit(StepDone(step + 1, seen, total))

        before = set(map(str, self.learner.model.corrections.numbers))
        self.state_key = ""  # until the epoch is done the weights are no checkpoint's
        seed = (plan.seed, epoch.stage, epoch.number)
        started = time.perf_counter()
        self.learner.have_outputs(plan.outputs_in(epoch.stage))
        head: Any = epoch.stage if plan.model.dataset_heads and epoch.stage else None
        if head is not None:
            self.learner.have_heads(range(head + 1))
        elif isinstance(dataset, Joint) and plan.model.dataset_heads:
            head = dataset.owners("train")
            self.learner.have_heads(range(len(dataset.datasets)))
        retention = self.memory.retention(epoch)
        result = self.learner.fit_epoch(dataset, plan.rates(epoch), seed, on_step, retention, plan.pool(stage), head)
        checked = all(each.prepared.files.hashed for each in self.datasets[: epoch.dataset + 1])
        rates = EpochRecord(epoch.key, epoch.parent, result.last_rate, result.first_rate, rows_checked=checked)
        record = replace(rates, train_loss=result.train_loss, samples=result.samples, seconds=result.seconds)
        committed = self._commit(replace(record, workers=self.group.size), before, epoch.stage)
        self.report.epochs.append(epoch.key)
        self.emit(epoch_done(epoch, plan, committed, time.perf_counter() - started, self.group.size))
        return committed

    def _average(self, action: Average) -> EpochRecord:
        committed: EpochRecord = self._first_does(lambda: commit_average(self.store, self.plan, action))
        return committed

    def _head_of(self, number: int, split: str) -> Any:
        """Return the dataset of the head correction for a dataset's samples."""
        dataset = self.datasets[number]
        if isinstance(dataset, Joint):
            return dataset.owners(split) if self.plan.model.dataset_heads else None
        return self.plan.head_of(number)

    def _evaluate(self, action: Evaluate) -> list[Errors | None]:
        kept = self._first_does(lambda: self.store.evaluations(action.key))
        known = {number: measured(self.plan, number, action.split, kept) for number in action.datasets}
        absent = [number for number, errors in known.items() if errors is False]
        self._load(action.key)
        started = time.perf_counter()
        self.emit(EvaluationStarted(action.stage, action.split, len(absent)))
        heads = [self._head_of(number, action.split) for number in absent]
        sums = self.learner.evaluate_all([self.datasets[number] for number in absent], action.split, heads)
        errors = {n: errors_of(total, self.datasets[n], self.plan.model) for n, total in zip(absent, sums, strict=True)}
        hashes = {number: self.plan.datasets[number].sha256[action.split] for number in absent}
        self._first_does(lambda: self.store.add_evaluations(action.key, {hashes[n]: errors[n] for n in absent}))
        seconds = time.perf_counter() - started
        answers = [None if isinstance(each, bool) else each for each in {**known, **errors}.values()]
        by_name = {self.datasets[n].name: each.error if each else None for n, each in zip(known, answers, strict=True)}
        done = EvaluationDone(action.stage, action.split, action.key, by_name, seconds)
        self.emit(done)
        self.evaluated(done)
        return answers
