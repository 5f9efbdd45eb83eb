"""The rows of the next dataset are fetched while the one of this stage is fitted."""

from __future__ import annotations

from collections.abc import Sequence

from data.prepared.encoding import EncodedDataset
from data.prepared.prefetch import Prefetch
from workflows.relay.plan import Plan


class Ahead:
    """What a worker fetches ahead of its use, on an object store; used as a context, it stops when that is left."""

    def __init__(self, plan: Plan, datasets: Sequence[EncodedDataset]):
        self.plan, self.datasets, self.prefetch = plan, datasets, Prefetch()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        self.prefetch.close()

    def fetch(self, stage: int) -> None:
        """Begin to fetch what the stage after this one reads, if it fits beside what this one reads and replays."""
        numbers = [each.dataset for each in self.plan.stages]
        if stage + 1 == len(numbers):
            return
        used = numbers[: stage + 1] if self.plan.retention.method != "none" else [numbers[stage]]
        following, *in_use = (self.datasets[number] for number in (numbers[stage + 1], *used))
        if isinstance(following, EncodedDataset):  # one that joins all others is alone in its plan
            self.prefetch.start(following.prepared, [each.prepared for each in in_use])
