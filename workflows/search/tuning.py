"""Run the trials by Ray Tune: quietly, with finite limits, and with each result reported as it arrives."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from cluster.trials import TrialPlacement
from workflows.recipe.search_settings import SearchSettings
from workflows.search.context import SearchContext
from workflows.search.proposal import Proposal
from workflows.search.run import Run
from workflows.search.stage_report import StageReport
from workflows.search.supply import Supply
from workflows.search.trial import Trial

MAX_RESTARTS = 2  # restarts of a trial whose process was lost; its epochs are in the store
REDUCTION = 2  # the better half of the trials at the end of a dataset continues
TuneResult = dict[str, Any]  # what Tune passes around


def proposal_of(trial: Any) -> Proposal | None:
    """Return the proposal of a trial of Tune; None: it is parked."""
    content = trial.config["proposal"]
    return None if content is None else Proposal.from_json(content)


class Suggestions(Searcher):
    """Tune's searcher over a supply.

    Tune ends a process without a trial, and a new one takes seconds to start. So while the last trials of a level run, the
    other processes are parked in a trial that does nothing, until there is work again.
    """

    def __init__(self, supply: Supply):
        super().__init__(metric="mean_scaled_error", mode="min")
        self.supply = supply
        self.parks = False

    def set_search_properties(self, *_args: Any, **_spec: Any) -> bool:
        """Accept any objective: the recipe decides."""
        return True

    def suggest(self, trial_id: str) -> TuneResult | str | None:  # type: ignore[override]  # noqa: ARG002
        """Return the next trial; FINISHED if all have ended."""
        proposal = self.supply.next()
        if proposal is not None:
            return {"proposal": proposal.to_json()}
        if self.supply.done:
            return Searcher.FINISHED
        return {"proposal": None} if self.parks else None

    def should_stop(self, _trial_id: str, result: Mapping[str, Any]) -> bool:
        """Return whether to stop a trial: a parked one, if there is work or all trials have ended."""
        return bool(result.get("parked")) and (not self.supply.idle or self.supply.done)

    def on_trial_complete(self, trial_id: str, result: TuneResult | None = None, error: bool = False) -> None:
        """Do nothing: TrialCallback records the final result."""

    def __getstate__(self) -> TuneResult:
        return {}  # as for TrialCallback

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: a resumed search proposes the same trials again."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing (see save)."""


class TrialCallback(Callback):
    """Reports the end of each trial, and reruns trials where needed.

    These are trials that Tune gives up too early, and ended ones with epochs that the store lacks. Tune 2.60 counts one
    actor death twice if it happens between two trials, and fails a trial that never started.
    """

    def __init__(self, run: Run):
        self.run = run
        self.losses = Counter[int]()
        self.recovered: dict[str, int] = {}  # trial: iteration of Tune's loop in which it was lost last

    def __getstate__(self) -> TuneResult:
        return {}  # Tune saves a copy to resume from, which we do not use

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]
        """Record a trial that finished or was stopped."""
        proposal = proposal_of(info["trial"])
        if proposal is not None:
            self._tell(proposal, StageReport.from_json(info["trial"].last_result))

    def on_trial_error(self, iteration: int, trial: Any, **_: Any) -> None:  # type: ignore[override]
        """Record a trial that Tune does not restart."""
        proposal = proposal_of(trial)
        if proposal is None:
            return
        if self._count(iteration, trial, proposal) <= MAX_RESTARTS:
            self.run.supply.put_back(proposal.number)
            return
        lines = str(trial.error_file and Path(trial.error_file).read_text()).strip().splitlines() or ["unknown"]
        lost = self.losses[proposal.number]
        self._tell(proposal, StageReport(failed=f"its process was lost {lost} times, the last time by: {lines[-1]}"))

    def on_trial_recover(self, iteration: int, trial: Any, **_: Any) -> None:  # type: ignore[override]
        """Record that a trial's process was lost; another one repeats it from the store."""
        proposal = proposal_of(trial)
        if proposal is not None:
            self._count(iteration, trial, proposal)

    def _count(self, iteration: int, trial: Any, proposal: Proposal) -> int:
        if self.recovered.get(trial.trial_id) != iteration:
            self.recovered[trial.trial_id] = iteration
            self.losses[proposal.number] += 1
            self.run.record_loss(proposal.number)
        return self.losses[proposal.number]

    def _tell(self, proposal: Proposal, report: StageReport) -> None:
        number = proposal.number
        if self.run.record_end(proposal, report):
            return
        self.losses[number] += 1
        self.run.record_loss(number)
        if self.losses[number] <= MAX_RESTARTS:
            self.run.supply.put_back(number)
            return
        reason = f"it ended {self.losses[number]} times, and the store still lacks epochs or evaluations of it"
        self.run.record_end(proposal, StageReport(failed=reason))


def run_trials(
    context: SearchContext, search: SearchSettings, placement: TrialPlacement, run: Run, num_stages: int, scratch: str
) -> None:
    """Run the trials of the run's supply, until all have ended.

    A trial whose process was lost is repeated from the store; after more than MAX_RESTARTS losses it has failed.
    """
    # Tune's loggers cost half the time of a trial that trains nothing; Ctrl-C must end the search,
    # not count as its regular end.
    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", TUNE_DISABLE_SIGINT_HANDLER="1", RAY_AIR_NEW_OUTPUT="0")
    os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")
    data_parallel = placement.num_workers > 0
    # The actor of a data-parallel trial takes no core from its workers, but Tune requires some resource.
    resources = {"memory": 1.0} if data_parallel else {"CPU": float(placement.cpus)}
    if placement.use_gpu and not data_parallel:
        resources["GPU"] = placement.gpu_share
    scheduler: Any = None
    if search.scheduler == "asha":
        scheduler = ASHAScheduler(
            metric=search.objectives[0], mode="min", max_t=num_stages, grace_period=1, reduction_factor=REDUCTION
        )
    suggestions = Suggestions(run.supply)
    suggestions.parks = search.algorithm == "beam" and scheduler is None
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Trial, context=context), resources),
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            search_alg=suggestions,
            num_samples=-1,  # the search itself detects when the last trial has ended
            max_concurrent_trials=placement.num_concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),  # a config can be longer than a file name may be
        ),
        run_config=tune.RunConfig(
            name=f"search-{time.time_ns()}",
            storage_path=scratch,
            stop=suggestions.should_stop,
            failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a trial's epochs are in the store
            callbacks=[TrialCallback(run)],
            verbose=0,
        ),
    )
    tuner.fit()
