"""What all trials of a search have in common, small enough to be sent to each of their processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.prepared.cache import Shelf
from data.prepared.encoding import EncodedDataset
from data.prepared.reference import DatasetRef
from workflows.recipe.recipe import check_recipe
from workflows.relay.events import Emit
from workflows.relay.plan import Plan
from workflows.results.trained import plan_of
from workflows.search.space import Config, trial_document

Facts = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """The prepared datasets of trials with the same data settings; `entries` has the recipe entry of each dataset."""

    datasets: tuple[DatasetRef, ...]
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Scene:
    """A search's recipe, its prepared datasets by the values that change them, its store, and what a trial gets."""

    document: Mapping[str, Any]
    folder: Path
    data_parameters: tuple[str, ...]
    variants: Mapping[str, Variant]
    storage: str
    emit: Emit
    num_workers: int
    use_gpu: bool
    device_memory_gb: float | None = None
    gpu_service: str = ""  # the folder of the service by which trials share a GPU; empty: there is none
    scratch: str = ""  # for Ray's own notes, where all machines of a cluster reach them; empty: a folder of this one

    def variant_of(self, config: Config) -> str:
        """The name of the variant that a trial is trained on."""
        return variant_name({name: config[name] for name in self.data_parameters})

    def open(self, variant: str) -> list[EncodedDataset]:
        """Map the datasets of a variant into this process."""
        shelf = Shelf(self.storage)
        found = self.variants[variant].datasets
        return [reference.open(shelf) for reference in found]

    def plan(self, config: Config, datasets: Sequence[EncodedDataset]) -> Plan:
        """The plan of a trial: what `train` would do with its recipe."""
        recipe = check_recipe(trial_document(self.document, config), self.folder)
        entries = self.variants[self.variant_of(config)].entries
        epochs = [recipe.entries[number].keys.epochs or recipe.training.epochs for number in entries]
        return plan_of(recipe, datasets, epochs)


def variant_name(config: Config) -> str:
    """The name of the datasets that these values of the data settings give."""
    return json.dumps(config, sort_keys=True, default=str)
