"""The algorithms of a search: they decide the trials, from the start or from the results of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from data.errors import InputError
from workflows.recipe.recipe import Recipe
from workflows.search.beam import Beam
from workflows.search.optuna_study import OptunaTrials, Study
from workflows.search.proposal import Proposal
from workflows.search.space import Config, Parameter, draw, grid, level_choices
from workflows.search.supply import Algorithm, Listed


@dataclass(frozen=True)
class SearchPlan:
    """The input of an algorithm: the recipe, its parameters, how many trials run at a time, and the training orders.

    `orders` has one list for each way to prepare the data: the recipe entry of each dataset, in training order.
    """

    recipe: Recipe
    parameters: Sequence[Parameter]
    num_concurrent: int
    orders: Sequence[tuple[int, ...]]


def listed_configs(recipe: Recipe, parameters: Sequence[Parameter]) -> list[Config] | None:
    """Return the trials of a grid or a random draw; None if they depend on results."""
    search = recipe.search
    if search.algorithm == "grid":
        return grid(parameters, recipe.label)
    return draw(parameters, search.num_samples, recipe.seed) if search.algorithm == "random" else None


def _listed(plan: SearchPlan) -> Algorithm:
    configs = listed_configs(plan.recipe, plan.parameters)
    assert configs is not None
    return Listed([Proposal(number, config) for number, config in enumerate(configs)])


def _optuna(plan: SearchPlan) -> Algorithm:
    search = plan.recipe.search
    study = Study(plan.parameters, len(search.objectives), plan.recipe.seed)
    return OptunaTrials(study, search.objectives, search.num_samples, plan.num_concurrent)


def _beam(plan: SearchPlan) -> Algorithm:
    if len(set(plan.orders)) > 1:
        raise InputError(
            f"{plan.recipe.label}: search: a beam needs one order of training for all trials, and values of [data] "
            'change the suggested one: write order = "given"'
        )
    search = plan.recipe.search
    return Beam(level_choices(plan.recipe, plan.parameters, plan.orders[0]), search.beam_width, search.objectives)


ALGORITHMS: Mapping[str, Callable[[SearchPlan], Algorithm]] = {
    "grid": _listed,
    "random": _listed,
    "optuna": _optuna,
    "beam": _beam,
}
