"""Ray Tune runs the trials: quietly, with finite limits, and what each came to is told as it happens."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import Callback
from ray.tune.schedulers import ASHAScheduler

from cluster.trials import TrialPlacement
from workflows.recipe.search_settings import SearchSettings
from workflows.search.propose import Proposer, Study
from workflows.search.scene import Scene
from workflows.search.space import Config, Parameter
from workflows.search.trial import Trial

Facts = dict[str, Any]
MAX_RESTARTS = 2  # of a trial whose process was lost; its epochs are in the store
REDUCTION = 2  # of the trials that have come to the end of a dataset, the better half goes on
Ended = Callable[[int, Config, Facts], Facts | None]  # the final word on a trial; None: it has to be run again


class _Told(Callback):
    """Hands on the last result of each trial that ends, and keeps the trials that have to be run again.

    These are the ones that Tune gives up too early, and those whose epochs the store lacks after they have ended. If the
    process of a trial that has ended is lost before another trial has begun in it, Tune 2.60 counts the one loss twice
    and fails a trial that never started.
    """

    def __init__(self, ended: Ended, lost: Callable[[int], None], losses: Counter[int], final: Callable[[int, Facts], None]):
        self.ended, self.lost, self.losses, self.final = ended, lost, losses, final
        self.recovered: Facts = {}  # the round of Tune's loop in which a trial was lost last
        self.again: list[tuple[int, Config]] = []

    def __getstate__(self) -> Facts:
        return {}  # Tune keeps a copy for its own way of going on, which is not ours

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override]
        """A trial is done, or was stopped."""
        self._tell(info["trial"], dict(info["trial"].last_result))

    def on_trial_error(self, iteration: int, trial: Any, **_: Any) -> None:  # type: ignore[override]
        """Tune does not start a trial again."""
        number = self._count(iteration, trial)
        if self.losses[number] <= MAX_RESTARTS:
            self.again.append((number, trial.config["proposal"]["config"]))
            return
        lines = str(trial.error_file and Path(trial.error_file).read_text()).strip().splitlines() or ["unknown"]
        self._tell(trial, {"failed": f"its process was lost {self.losses[number]} times, the last time by: {lines[-1]}"})

    def on_trial_recover(self, iteration: int, trial: Any, **_: Any) -> None:  # type: ignore[override]
        """The process of a trial was lost; it is done again from the store, by another."""
        self._count(iteration, trial)

    def _count(self, iteration: int, trial: Any) -> int:
        number = int(trial.config["proposal"]["number"])
        if self.recovered.get(trial.trial_id) != iteration:
            self.recovered[trial.trial_id] = iteration
            self.losses[number] += 1
            self.lost(number)
        return number

    def _tell(self, trial: Any, result: Facts) -> None:
        number, config = int(trial.config["proposal"]["number"]), trial.config["proposal"]["config"]
        word = self.ended(number, config, result)
        if word is None:
            self.losses[number] += 1
            self.lost(number)
            if self.losses[number] <= MAX_RESTARTS:
                self.again.append((number, config))
                return
            why = f"it ended {self.losses[number]} times, and the store lacks epochs or evaluations of it"
            word = self.ended(number, config, {"failed": why})
        if word is not None:
            self.final(number, word)


def run_trials(
    scene: Scene,
    search: SearchSettings,
    placement: TrialPlacement,
    proposals: Sequence[tuple[int, Config]] | None,
    parameters: Sequence[Parameter],
    num_stages: int,
    seed: int,
    scratch: str,
    ended: Ended,
    lost: Callable[[int], None],
) -> None:
    """Run the trials `proposals`, in this order, or those that Optuna proposes where they are None.

    A trial whose process was lost is run again from the store; after more than MAX_RESTARTS losses it has failed.
    """
    # What a logger of Tune writes for each step costs half of a trial that trains nothing; Ctrl-C is to end the search,
    # not to be taken for its regular end.
    os.environ.update(TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1", TUNE_DISABLE_SIGINT_HANDLER="1", RAY_AIR_NEW_OUTPUT="0")
    os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")
    data_parallel = placement.num_workers > 0
    # The actor of a data-parallel trial takes no core from its workers; Tune does not let it ask for nothing at all.
    each = {"memory": 1.0} if data_parallel else {"CPU": 1.0}
    if placement.use_gpu and not data_parallel:
        each["GPU"] = placement.gpu_share
    scheduler: Any = None
    if search.scheduler == "asha":
        scheduler = ASHAScheduler(
            metric=search.objectives[0], mode="min", max_t=num_stages, grace_period=1, reduction_factor=REDUCTION
        )
    losses = Counter[int]()
    while proposals is None or proposals:
        chosen: Facts = {"scheduler": scheduler, "max_concurrent_trials": placement.num_concurrent}
        if proposals is None:
            study = Study(parameters, len(search.objectives), seed)
            proposer = Proposer(study, search.objectives, search.num_samples, placement.num_concurrent)
            told = _Told(ended, lost, losses, proposer.final)
            proposer.again = told.again  # it proposes them before any other
            chosen.update(search_alg=proposer, num_samples=-1)  # it says itself when the last trial has its final word
        else:
            told = _Told(ended, lost, losses, lambda number, word: None)
        _run_once(scene, each, proposals, chosen, scratch, told)
        proposals = told.again


def _run_once(
    scene: Scene,
    each: Facts,
    proposals: Sequence[tuple[int, Config]] | None,
    chosen: Facts,
    scratch: str,
    told: _Told,
) -> None:
    space = {} if proposals is None else {"proposal": tune.grid_search([{"number": n, "config": c} for n, c in proposals])}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Trial, scene=scene), each),
        param_space=space,
        tune_config=tune.TuneConfig(
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),  # a config can be longer than a name may be
            **chosen,
        ),
        run_config=tune.RunConfig(
            name=f"search-{time.time_ns()}",
            storage_path=scratch,
            failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # what a trial has done is in the store
            callbacks=[told],
            verbose=0,
        ),
    )
    tuner.fit()
