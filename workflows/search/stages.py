"""A walk that can stop after a dataset: what a trial of a search does, one step a stage."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from data.prepared.encoding import EncodedDataset
from workflows.relay.actions import Evaluate, Train
from workflows.relay.metrics import forgetting, mean_of, naive_error, scaled
from workflows.relay.relay import Outcome, measured_after, relay, row_of
from workflows.relay.walk import MAX_DAMAGED, StoreError, Walker
from workflows.store.store import DamagedCheckpointError

Rows = list[list[float | None]]


@dataclass(frozen=True)
class StageDone:
    """`number` stages are done; `errors` are those of all datasets before and after each of them."""

    number: int
    errors: Rows


def walk_stages(walker: Walker) -> Generator[StageDone, None, None]:
    """Do what the plan asks for and the store lacks, and pause after each stage until asked to go on.

    Each stage is told once, the last one when all is done.
    """
    told = 0
    for _ in range(MAX_DAMAGED):
        try:
            for done in _walk_once(walker):
                if done.number > told:
                    told = done.number
                    yield done
        except DamagedCheckpointError:  # it has been set aside: what it held is trained again
            continue
        return
    raise StoreError(f"{walker.store.address}: {MAX_DAMAGED} checkpoints were damaged: check the disk")


def _walk_once(walker: Walker) -> Generator[StageDone, None, None]:
    plan = walker.plan
    actions, reply, done = relay(plan), None, 0
    rows: dict[int, list[float | None]] = {}

    def so_far(number: int) -> StageDone:
        return StageDone(number, [rows[place] for place in range(number + 1) if place in rows])

    while True:
        try:
            action = actions.send(reply)
        except StopIteration as ended:
            outcome: Outcome = ended.value
            break
        # A stage is over when the next one begins, not before: the relay may still try it again.
        if isinstance(action, Train) and action.epoch.stage > done:
            done = action.epoch.stage
            yield so_far(done)
        reply = walker.answer(action)
        if isinstance(action, Evaluate) and action.split == "validation":
            measured = measured_after(plan, action.stage)
            if action.datasets == measured:
                row = row_of(plan, measured, reply)
                rows[action.stage] = [None if each is None else each.error for each in row]
    yield StageDone(len(plan.stages), [[None if each is None else each.error for each in row] for row in outcome.validation])


def metrics_after(errors: Rows, datasets: Sequence[EncodedDataset], loss: str) -> dict[str, float | None]:
    """Mean scaled error and forgetting over the datasets that have had their turn; after the last, those of the run."""
    trained = len(errors) - 1
    naive = [naive_error(dataset, "validation", loss) for dataset in datasets[:trained]]
    relative = [[scaled(error, base) for error, base in zip(row, naive, strict=False)] for row in errors]
    return {"mean_scaled_error": mean_of(relative[-1]), "forgetting": forgetting(relative)}
