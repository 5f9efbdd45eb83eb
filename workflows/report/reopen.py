"""A run's datasets as it was trained on them, from the store alone: the raw data may have moved away."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.encoding import EncodedDataset, make_encodings
from data.errors import InputError
from data.prepared import MANIFEST, PreparedDataset
from data.shelf import Shelf
from workflows.chain.plan import Plan, make_plan
from workflows.chain.store import Store
from workflows.recipe import Entry, Recipe, check_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Facts = Mapping[str, Any]


class GoneError(Exception):
    """Something that a run was made with is not there any more; the message says what."""


def read_recipe(store: Store, name: str, run: Facts) -> Recipe | None:
    """The recipe that a run was made with; None where it is not there, or is not understood any more."""
    try:
        document = (
            run["recipe"] if "recipe" in run else tomllib.loads(store.storage.read(f"runs/{name}/recipe.toml").decode())
        )
        return check_recipe(document, Path("/"))  # its paths are absolute
    except (FileNotFoundError, ValueError, InputError):
        return None


def entries_of(recipe: Recipe, names: Sequence[str]) -> list[Entry]:
    """The entry of each dataset by its name: the one that names it, or whose template fits."""
    found = []
    for name in names:
        literal = [entry for entry in recipe.entries if entry.keys.name == name]
        fitting = literal or [entry for entry in recipe.entries if re.fullmatch(_pattern(entry.keys.name), name, re.DOTALL)]
        if not fitting:
            raise GoneError(f"the recipe has no dataset {name!r} any more")
        found.append(fitting[0])
    return found


def _pattern(template: str) -> str:
    return "".join(".*" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^{}]*\})", template))


def reopen_datasets(store: Store, run: Facts, recipe: Recipe) -> list[EncodedDataset]:
    """The datasets of a run from their prepared folders; raises GoneError where one is not there."""
    shelf = Shelf(store.address)
    names = list(run["datasets"])
    settings = [entry.settings for entry in entries_of(recipe, names)]
    prepared = []
    if len(run.get("prepared", [])) != len(names):
        raise GoneError("the run does not say where its prepared datasets are")
    for name, fingerprint, setting in zip(names, run["prepared"], settings, strict=True):
        folder = shelf.fetch(fingerprint)
        if not (folder / MANIFEST).exists():
            raise GoneError(f"the prepared rows of dataset {name!r} are not in the storage any more ({folder})")
        prepared.append(PreparedDataset(folder, name, setting))
    encodings = make_encodings(prepared, settings)
    return [EncodedDataset(each, encoding) for each, encoding in zip(prepared, encodings, strict=True)]


def plan_of(recipe: Recipe, names: Sequence[str], datasets: Sequence[EncodedDataset]) -> Plan:
    """The plan of the run of a recipe."""
    epochs = [entry.keys.epochs or recipe.training.epochs for entry in entries_of(recipe, names)]
    return make_plan(recipe.seed, recipe.model, recipe.training, datasets, epochs, recipe.retention)


def check_same(store: Store, key: str, plan: Plan) -> None:
    """Raise GoneError unless the state `key` was measured on these very samples, encoded as they are in the plan."""
    kept = store.evaluations(key)
    for dataset in plan.datasets:
        measured = [split for split in ("validation", "test") if dataset.samples[split]]
        if measured and not any(dataset.sha256[split] in kept for split in measured):
            raise GoneError(f"dataset {dataset.name!r} is not prepared or scaled as it was when the run measured it")
