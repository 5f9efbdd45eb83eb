"""Fetch the rows of the next dataset while the current one is trained."""

from __future__ import annotations

from collections.abc import Sequence

from data.prepared.encoding import EncodedDataset
from data.prepared.prefetch import Prefetch
from workflows.relay.plan import Plan


class Ahead:
    """Fetches rows ahead of their use from an object store; as a context manager it stops on exit."""

    def __init__(self, plan: Plan, datasets: Sequence[EncodedDataset]):
        self.plan, self.datasets, self.prefetch = plan, datasets, Prefetch()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *raised: object) -> None:
        self.prefetch.close()

    def fetch(self, stage: int) -> None:
        """Start fetching the rows of the next stage if they fit beside those that this stage reads and replays."""
        numbers = [each.dataset for each in self.plan.stages]
        if stage + 1 == len(numbers):
            return
        used = numbers[: stage + 1] if self.plan.retention.method != "none" else [numbers[stage]]
        following, *in_use = (self.datasets[number] for number in (numbers[stage + 1], *used))
        if isinstance(following, EncodedDataset):  # joint training has a single stage
            self.prefetch.start(following.prepared, [each.prepared for each in in_use])
