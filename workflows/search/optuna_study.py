"""Optuna's proposals: the same trials for the same seed, however fast each of them is."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import InputError
from workflows.recipe.search_settings import Range
from workflows.results.search_result import TrialResult
from workflows.search.proposal import Proposal
from workflows.search.space import Config, Parameter

Values = tuple[float, ...]


def check_optuna() -> None:
    """Raise InputError if Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise InputError(
            'search: algorithm = "optuna" needs a package that is not installed: run pip install -c constraints.txt -e '
            '".[search]", or write algorithm = "random"'
        )


class Study:
    """Asks Optuna for trials and reports their results. All objectives are minimised."""

    def __init__(self, parameters: Sequence[Parameter], num_objectives: int, seed: int):
        check_optuna()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self.parameters = parameters
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.study = optuna.create_study(directions=["minimize"] * num_objectives, sampler=sampler)
        self.asked: list[Any] = []

    def ask(self) -> Config:
        """Return the next trial's values."""
        trial = self.study.ask()
        self.asked.append(trial)
        return {each.name: self._suggest(trial, each) for each in self.parameters}

    def _suggest(self, trial: Any, parameter: Parameter) -> Any:
        space, values = parameter.space, parameter.values()
        if values is None:
            assert isinstance(space, Range)
            return trial.suggest_float(parameter.name, space.low, space.high, log=space.log)
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            # An integer parameter tells Optuna that the values are ordered.
            return sorted(values)[trial.suggest_int(parameter.name, 0, len(values) - 1)]
        return values[trial.suggest_categorical(parameter.name, list(range(len(values))))]

    def tell(self, number: int, values: Values | None, complete: bool = True) -> None:
        """Report the result of a trial; None: it failed. A stopped trial is reported as pruned, or as failed."""
        states = self._optuna.trial.TrialState
        if values is None or (not complete and len(values) > 1):
            self.study.tell(self.asked[number], state=states.FAIL)
        elif complete:
            self.study.tell(self.asked[number], list(values))
        else:
            self.asked[number].report(values[0], 0)
            self.study.tell(self.asked[number], state=states.PRUNED)


class OptunaTrials:
    """Proposes trial n from exactly the results of the trials up to n - lag, in their order.

    With fewer results it waits, and it ignores later ones; otherwise proposals would depend on which of two concurrent
    trials ends first, and an interrupted search would continue with other trials.
    """

    def __init__(self, study: Study, objectives: Sequence[str], num_trials: int, lag: int):
        self.study, self.objectives, self.num_trials, self.lag = study, objectives, num_trials, lag
        self.num_proposed = self.num_told = 0

    def more(self, ended: Mapping[int, TrialResult]) -> list[Proposal]:
        """Return the next trial; none if it must wait for results, or if all were proposed."""
        if self.num_proposed == self.num_trials:
            return []
        while self.num_told <= self.num_proposed - self.lag:
            if self.num_told not in ended:
                return []
            self._tell(ended[self.num_told])
            self.num_told += 1
        self.num_proposed += 1
        return [Proposal(self.num_proposed - 1, self.study.ask())]

    def _tell(self, trial: TrialResult) -> None:
        if trial.failed is not None:
            self.study.tell(trial.number, None)
        else:
            values = tuple(trial.metrics.objective(name) for name in self.objectives)
            self.study.tell(trial.number, values, trial.stopped_after is None)
