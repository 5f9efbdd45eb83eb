"""The space of a search: its parameters, the trials of a grid or a random draw, and the recipe of a trial."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import InputError
from workflows.recipe.checks import suggest
from workflows.recipe.overrides import put
from workflows.recipe.recipe import Recipe, check_recipe
from workflows.recipe.search_settings import Choices, Range, Space

Config = Mapping[str, Any]  # a value for each parameter, by its dotted name
MAX_TRIALS = 10_000  # of a grid; a trial takes 0.1 s even if all its epochs are in the store
DECAY = "training.decay_rate"


@dataclass(frozen=True)
class Parameter:
    """A searched value of the recipe, named as in --set; DECAY.1 is the decay rate at the first change of dataset."""

    name: str
    space: Space

    @property
    def changes_data(self) -> bool:
        """Return whether the datasets have to be prepared for each of its values."""
        return self.name.startswith("data.") or (self.name.startswith("datasets.") and not self.name.endswith(".epochs"))

    def values(self) -> tuple[Any, ...] | None:
        """Return all of its values; None if they cannot be listed."""
        return self.space.values if isinstance(self.space, Choices) else self.space.values()

    def draw(self, random: np.random.Generator) -> Any:
        """Return a random value."""
        values = self.values()
        if values is not None:
            return values[int(random.integers(len(values)))]
        assert isinstance(self.space, Range)
        low, high = self.space.low, self.space.high
        return (
            math.exp(random.uniform(math.log(low), math.log(high))) if self.space.log else float(random.uniform(low, high))
        )


def parameters_of(recipe: Recipe, location: str = "recipe") -> list[Parameter]:
    """Return the parameters of a recipe's [search]; raises InputError if there are none, or for unknown names."""
    search = recipe.search
    names = [entry.keys.name for entry in recipe.entries if entry.keys.train]
    problems = []
    for name in search.datasets:
        if name not in names:
            untrained = any(name == entry.keys.name for entry in recipe.entries)
            what = "it has train = false, so it is not trained" if untrained else "no such [[datasets]] entry"
            problems.append(f"{location}: search.datasets.{name}: {what}: {suggest(name, names)}")
    parameters = _decay_parameters(recipe, location, problems)
    for name in names:
        dataset_space = search.datasets[name].epochs if name in search.datasets else None
        space = search.epochs if dataset_space is None else dataset_space
        if space is not None:
            parameters.append(Parameter(f"datasets.{name}.epochs", space))
    for name, space in search.values.items():
        if any(name == other.name or other.name.startswith(f"{name}.") for other in parameters):
            problems.append(f"{location}: search.values: {name!r} is searched already: write it once")
        parameters.append(Parameter(name, space))
    if not parameters:
        problems.append(
            f"{location}: search: the space is empty: write, for example, decay_rate = [0.5, 0.7, 0.9] into [search]"
        )
    if problems:
        raise InputError(problems)
    return parameters


def _decay_parameters(recipe: Recipe, location: str, problems: list[str]) -> list[Parameter]:
    """Return the searched decay rates: one for all changes of dataset, or one for each."""
    search, names = recipe.search, [entry.keys.name for entry in recipe.entries if entry.keys.train]
    by_dataset = {
        name: each.decay_rate for name, each in search.datasets.items() if each.decay_rate is not None and name in names
    }
    if not by_dataset:
        if isinstance(search.decay_rate, tuple):
            return [Parameter(f"{DECAY}.{number}", space) for number, space in enumerate(search.decay_rate, 1)]
        return [] if search.decay_rate is None else [Parameter(DECAY, search.decay_rate)]
    where = f"{location}: search.datasets.{next(iter(by_dataset))}.decay_rate"
    several = next((name for name in names if "{" in name), None)
    if several is not None or recipe.order != "given":
        reason = 'order = "suggested" decides it' if several is None else f"the entry {several!r} makes several datasets"
        problems.append(f"{where}: the position of the dataset must be known, but {reason}: write an entry for each dataset")
        return []
    if names[0] in by_dataset:
        problems.append(
            f"{location}: search.datasets.{names[0]}.decay_rate: the first dataset keeps the learning rate: remove it"
        )
    default: Any = recipe.training.decay_rate if search.decay_rate is None else search.decay_rate
    rates = list(default) if isinstance(default, (tuple, list)) else [default] * (len(names) - 1)
    if len(rates) != len(names) - 1:
        problems.append(
            f"{where}: {len(rates)} other decay rates for {len(names) - 1} changes of dataset: write one for each"
        )
    spaces = [rate if isinstance(rate, (Choices, Range)) else Choices((rate,)) for rate in rates]
    return [
        Parameter(f"{DECAY}.{number}", by_dataset.get(name, space))
        for number, (name, space) in enumerate(zip(names[1:], spaces, strict=False), 1)
    ]


def level_choices(recipe: Recipe, parameters: Sequence[Parameter], order: Sequence[int]) -> list[list[Config]]:
    """Return, for each dataset, the values that it adds to a trial of a beam search: every combination of its choices.

    These are the dataset's epochs and the decay rate of the change to it; a single space for all decay rates applies to
    each change separately. All other values are chosen with the first dataset, and datasets of one entry share the choice
    of the first of them. `order` has the recipe entry of each dataset.
    """
    names = [entry.keys.name for entry in recipe.entries]
    first = {f"datasets.{names[entry]}.epochs": order.index(entry) for entry in order}
    levels: list[list[Parameter]] = [[] for _ in order]
    for each in parameters:
        if each.name == DECAY:
            for number in range(1, len(order)):
                levels[number].append(Parameter(f"{DECAY}.{number}", each.space))
        elif each.name.startswith(f"{DECAY}."):
            levels[int(each.name.rsplit(".", 1)[1])].append(each)
        else:
            levels[first.get(each.name, 0)].append(each)
    return [grid(level, recipe.label) for level in levels]


def trial_document(document: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """Return the recipe's document with a trial's values, without its search spaces."""
    trial = copy.deepcopy({key: value for key, value in document.items() if key != "search"})
    changes = sorted((name for name in config if name.startswith(f"{DECAY}.")), key=lambda name: int(name.rsplit(".", 1)[1]))
    for name, value in config.items():
        if name not in changes:
            put(trial, name, value, f"search: {name} = {value!r}")
    if changes:
        put(trial, DECAY, [config[name] for name in changes], "search")
    return trial


def trial_recipe(recipe: Recipe, config: Config, location: str = "recipe") -> Recipe:
    """Return the checked recipe of a trial."""
    return check_recipe(trial_document(recipe.document, config), recipe.folder, location)


def check_parameters(recipe: Recipe, parameters: Sequence[Parameter], location: str = "recipe") -> None:
    """Raise InputError with every invalid value of every parameter; ranges are checked at their ends."""
    first = {each.name: (each.values() or (each.space.low,))[0] for each in parameters}  # type: ignore[union-attr]
    problems: list[str] = []
    for each in parameters:
        values = each.values()
        if values is None:
            assert isinstance(each.space, Range)
            values = (each.space.low, each.space.high)
        for value in values if len(values) <= MAX_TRIALS else (values[0], values[-1]):
            if "." not in each.name:
                problems.append(f"{location}: search.values: {each.name!r}: write SECTION.KEY, such as training.batch_size")
                break
            try:
                # Other parameters keep the recipe's values, so that an invalid one is reported only once. Decay rates
                # of the changes form one value, so they are set together.
                rates = {name: first[name] for name in first if name.startswith(f"{DECAY}.")} if DECAY in each.name else {}
                trial_recipe(recipe, {**rates, each.name: value}, f"{location}: search, {each.name} = {value!r}")
            except InputError as error:
                problems += error.messages
    if problems:
        raise InputError(list(dict.fromkeys(problems)))


def grid(parameters: Sequence[Parameter], location: str = "recipe") -> list[Config]:
    """Return every combination, the last parameter changing fastest."""
    values: list[tuple[Any, ...]] = []
    for each in parameters:
        choices = each.values()
        if choices is None:
            raise InputError(
                f'{location}: search: a grid or a beam needs a step for {each.name}, or write algorithm = "random"'
            )
        values.append(choices)
    count = math.prod(len(each) for each in values)
    if count > MAX_TRIALS:
        sizes = " x ".join(str(len(each)) for each in values)
        raise InputError(
            f"{location}: search: the grid has {sizes} = {count:,} trials, at most {MAX_TRIALS:,}: write fewer choices, or "
            'algorithm = "random" with num_samples'
        )
    names = [each.name for each in parameters]
    return [dict(zip(names, combination, strict=True)) for combination in itertools.product(*values)]


def draw(parameters: Sequence[Parameter], num_samples: int, seed: int) -> list[Config]:
    """Return `num_samples` distinct random trials, the same for the same seed; fewer if the space is smaller."""
    random = np.random.default_rng([seed, 0x5EA2C4])
    configs: list[Config] = []
    for _ in range(20 * num_samples):
        config = {each.name: each.draw(random) for each in parameters}
        if config not in configs:
            configs.append(config)
        if len(configs) == num_samples:
            break
    return configs


def data_variants(parameters: Sequence[Parameter], location: str = "recipe") -> list[Config]:
    """Return every combination of values that change the prepared data; one empty combination if there are none."""
    return grid([each for each in parameters if each.changes_data], location)
