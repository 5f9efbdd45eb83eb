"""Optuna's proposals under Ray Tune: the same trials for the same seed, however fast each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from data.errors import InputError
from workflows.recipe.search_settings import Range
from workflows.search.space import Config, Parameter

Facts = dict[str, Any]
Values = tuple[float, ...]
WORST = 1e30  # of a trial that failed; not infinity, of which ASHA's percentile would make NaN


class Study:
    """Asks Optuna for trials, and tells it what they came to. Everything is to be low."""

    def __init__(self, parameters: Sequence[Parameter], num_objectives: int, seed: int):
        try:
            import optuna
        except ModuleNotFoundError:
            raise InputError(
                'search: algorithm = "optuna" needs a package that is not installed: run pip install -c constraints.txt -e '
                '".[search]", or write algorithm = "random"'
            ) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self.parameters = parameters
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.study = optuna.create_study(directions=["minimize"] * num_objectives, sampler=sampler)
        self.asked: list[Any] = []

    def ask(self) -> Config:
        """The next trial's values."""
        trial = self.study.ask()
        self.asked.append(trial)
        return {each.name: self._suggest(trial, each) for each in self.parameters}

    def _suggest(self, trial: Any, parameter: Parameter) -> Any:
        space, values = parameter.space, parameter.values()
        if values is None:
            assert isinstance(space, Range)
            return trial.suggest_float(parameter.name, space.low, space.high, log=space.log)
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
            return sorted(values)[
                trial.suggest_int(parameter.name, 0, len(values) - 1)
            ]  # Optuna knows that they are ordered
        return values[trial.suggest_categorical(parameter.name, list(range(len(values))))]

    def tell(self, number: int, values: Values | None, complete: bool = True) -> None:
        """What a trial came to; None: it failed. Of one that was stopped early only that it is no better is certain."""
        states = self._optuna.trial.TrialState
        if values is None or (not complete and len(values) > 1):
            self.study.tell(self.asked[number], state=states.FAIL)
        elif complete:
            self.study.tell(self.asked[number], list(values))
        else:
            self.asked[number].report(values[0], 0)
            self.study.tell(self.asked[number], state=states.PRUNED)


class Proposer(Searcher):
    """Ray Tune's side: trial n is proposed from exactly the results of the trials up to n - lag, in their order.

    With fewer results it waits, and more it does not look at; otherwise the proposals would depend on which of two trials
    that run at the same time ends first, and a search that was interrupted would go on with other trials. Optuna is told
    the final word on a trial only: one that was lost and is run again (`again`) has none before it has ended.
    """

    def __init__(self, study: Study, objectives: Sequence[str], num_samples: int, lag: int):
        super().__init__(metric="mean_scaled_error", mode="min")
        self.study, self.objectives, self.num_samples, self.lag = study, objectives, num_samples, lag
        self.proposed: list[Config] = []
        self.again: list[tuple[int, Config]] = []
        self.results: dict[int, tuple[Values | None, bool]] = {}
        self.told = 0

    def set_search_properties(self, *_args: Any, **_spec: Any) -> bool:
        """The objectives are the recipe's."""
        return True

    def suggest(self, trial_id: str) -> Facts | str | None:  # type: ignore[override]  # noqa: ARG002
        """The next trial, or None where it is too early for it."""
        if self.again:
            again, config = self.again.pop(0)
            return {"proposal": {"number": again, "config": config}}
        number = len(self.proposed)
        if number >= self.num_samples:
            return Searcher.FINISHED if len(self.results) == number else None
        while self.told <= number - self.lag:
            if self.told not in self.results:
                return None
            values, complete = self.results[self.told]
            self.study.tell(self.told, values, complete)
            self.told += 1
        self.proposed.append(self.study.ask())
        return {"proposal": {"number": number, "config": self.proposed[-1]}}

    def on_trial_complete(self, trial_id: str, result: Facts | None = None, error: bool = False) -> None:
        """Nothing: Tune's word is not the final one."""

    def final(self, number: int, trial: Facts) -> None:
        """Keep what a trial came to, as search.json has it, until it is its turn to be told."""
        if "failed" in trial:
            self.results[number] = (None, False)
            return
        absent = {"forgetting": 0.0}  # of a single dataset; an error that is not known is worst
        found = [trial["metrics"][name] for name in self.objectives]
        values = tuple(
            absent.get(name, WORST) if value is None else value for name, value in zip(self.objectives, found, strict=True)
        )
        self.results[number] = (values, trial["stopped_after"] is None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the same trials are proposed again."""

    def restore(self, checkpoint_path: str) -> None:
        """See save."""
