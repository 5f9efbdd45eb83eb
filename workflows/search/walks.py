"""Walk the plans of trials in a process, stage by stage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import torch

from data.prepared.encoding import EncodedDataset
from workflows.fit.device_lane import lane_for
from workflows.fit.errors import NonFiniteLossError
from workflows.fit.group import Group
from workflows.fit.lanes import Lane
from workflows.relay.events import Damaged, EpochDone, RunEvent, Waiting
from workflows.relay.plan import Plan
from workflows.relay.relay import Outcome
from workflows.relay.walk import StoreError, Walker
from workflows.results.result import metrics_after
from workflows.search.context import SearchContext
from workflows.search.proposal import Proposal
from workflows.search.stage_report import StageReport
from workflows.store.store import Store


class Walks:
    """Walks the plans of trials, one after another; datasets stay mapped for the next trial."""

    def __init__(self, context: SearchContext):
        self.context = context
        self.store = Store(context.storage)
        self.datasets: dict[str, list[EncodedDataset]] = {}
        self.plan: Plan | None = None
        self.lane: Lane | None = None
        self.stages: Iterator[Outcome] | None = None
        self.level: int | None = None  # number of stages after which the trial ends, untested; None: all
        self.trained = 0

    def begin(self, proposal: Proposal) -> None:
        """Start the walk of another trial; an unfinished walk is dropped."""
        self.stages, self.trained = None, 0
        variant = self.context.variant_of(proposal.config)
        if variant not in self.datasets:
            self.datasets[variant] = self.context.open(variant)

        def emit(event: RunEvent) -> None:
            if isinstance(event, EpochDone):
                self.trained += 1
                self.context.emit(replace(event, trial=proposal.number, pid=os.getpid()))
            elif isinstance(event, Damaged | Waiting):
                self.context.emit(replace(event, trial=proposal.number))

        all_datasets = self.datasets[variant]
        self.plan = self.context.plan(proposal, all_datasets)
        self.level = None if proposal.level == len(all_datasets) else proposal.level
        device = "cuda" if self.context.use_gpu else "cpu"
        if self.lane is None:  # the lane keeps rows on the GPU from trial to trial
            self.lane = lane_for(torch.device(device), self.plan.model, self.context.device_memory_gb, self.context.cpus)
        datasets = all_datasets[: len(self.plan.datasets)]
        walker = Walker(self.plan, datasets, self.store, Group.current(), emit, device, lane=self.lane)
        self.stages = walker.stages()

    def next_stage(self) -> StageReport:
        """Run the next stage; for a trial of a beam search all stages, because nothing is decided between them."""
        assert self.stages is not None
        assert self.plan is not None
        try:
            for outcome in self.stages:
                done = len(outcome.stages)
                complete = bool(outcome.test) or done == self.level
                if complete or (self.level is None and done < len(self.plan.stages)):
                    break
        except (NonFiniteLossError, StoreError) as error:
            return StageReport(trained=self.trained, failed=str(error))
        metrics = metrics_after(self.plan, outcome)
        mean, forgotten = (metrics.objective(name) for name in ("mean_scaled_error", "forgetting"))
        return StageReport(mean, forgotten, done, self.trained, complete)
