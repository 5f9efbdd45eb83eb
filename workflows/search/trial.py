"""A trial of a search: a Trainable of Ray Tune with one stage for each step, in a process that runs many trials."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from ray.tune import Trainable

from cluster.mps import find_service
from workflows.search.context import SearchContext
from workflows.search.proposal import Proposal
from workflows.search.stage_report import StageReport
from workflows.search.walks import Walks

PARKED_S = 0.3  # between two reports of a process that waits for its next trial


class Worker(Protocol):
    """Runs the stages of trials: this process, or a group of workers."""

    def begin(self, proposal: Proposal) -> None:
        """Start another trial."""

    def next_stage(self) -> StageReport:
        """Run the next stage."""


class Trial(Trainable):
    """Trials one after another in the same process (reuse_actors=True), which saves starting a process for each."""

    def setup(self, config: dict[str, Any], context: SearchContext | None = None) -> None:
        """Start the first trial."""
        assert context is not None
        find_service(context.gpu_service)
        if context.num_workers:
            from workflows.search.trial_group import GroupWalks  # it imports Ray Train

            self.walks: Worker = GroupWalks(context)
        else:
            torch.set_num_threads(1)  # the fit starts its own threads: see workflows.fit.threads
            self.walks = Walks(context)
        self.reset_config(config)

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Start another trial and keep datasets and workers open."""
        proposal = new_config["proposal"]
        self.parked = proposal is None
        if not self.parked:
            self.walks.begin(Proposal.from_json(proposal))
        return True

    def step(self) -> dict[str, Any]:
        """Run one stage and return its report."""
        if self.parked:
            time.sleep(PARKED_S)
            return StageReport(parked=True).to_json()
        return self.walks.next_stage().to_json()

    def cleanup(self) -> None:
        """Free the workers, if there are any."""
        close = getattr(self.walks, "close", None)
        if close is not None:
            close()
