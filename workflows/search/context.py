"""The values that all trials of a search share, small enough to be sent to each of their processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.trials import TrialPlacement
from data.errors import InputError
from data.prepared.cache import PreparedCache
from data.prepared.encoding import EncodedDataset
from data.prepared.reference import DatasetRef
from workflows.recipe.recipe import Entry, Recipe, check_recipe
from workflows.relay.events import Emit, RunEvent
from workflows.relay.metrics import naive_error
from workflows.relay.plan import Plan
from workflows.results.events import Watch, ignore
from workflows.results.trained import plan_of
from workflows.search.proposal import Proposal
from workflows.search.space import Config, Parameter, data_variants, trial_document, trial_recipe
from workflows.store.store import Store
from workflows.training.preparing import prepare_watched


@dataclass(frozen=True)
class Variant:
    """The prepared datasets of trials with the same data settings; `entries` has the recipe entry of each dataset."""

    datasets: tuple[DatasetRef, ...]
    entries: tuple[int, ...]


@dataclass(frozen=True)
class SearchContext:
    """A search's recipe, its prepared datasets by the values that change them, its store, and a trial's resources."""

    document: Mapping[str, Any]
    folder: Path
    data_parameters: tuple[str, ...]
    variants: Mapping[str, Variant]
    storage: str
    emit: Emit
    num_workers: int
    use_gpu: bool
    device_memory_gb: float | None = None
    gpu_service: str = ""  # the folder of the service through which trials share a GPU; empty: no service
    cpus: int = 1  # cores, and threads, of each worker of a trial
    one_node: bool = False  # all workers of a trial are on one machine
    scratch: str = ""  # a folder for Ray that all machines of a cluster reach; empty: a local folder

    def variant_of(self, config: Config) -> str:
        """Return the name of the variant that a trial is trained on."""
        return variant_name({name: config[name] for name in self.data_parameters})

    def open(self, variant: str) -> list[EncodedDataset]:
        """Map the datasets of a variant into this process."""
        prepared_cache = PreparedCache(self.storage)
        references = self.variants[variant].datasets
        return [reference.open(prepared_cache) for reference in references]

    def plan(self, proposal: Proposal, datasets: Sequence[EncodedDataset]) -> Plan:
        """Return the plan of a trial: that of `train` with its recipe, up to the trial's last dataset.

        The addresses of epochs do not depend on later datasets, so a prefix has the plan's first epochs.
        """
        recipe = check_recipe(trial_document(self.document, proposal.config), self.folder)
        entries = self.variants[self.variant_of(proposal.config)].entries[: proposal.level]
        epochs = [recipe.entries[number].keys.epochs or recipe.training.epochs for number in entries]
        decay = recipe.training.decay_rate
        if isinstance(decay, list):
            training = recipe.training.model_copy(update={"decay_rate": decay[: len(entries) - 1]})
            recipe = dataclasses.replace(recipe, training=training)
        return plan_of(recipe, datasets[: proposal.level], epochs)


def variant_name(config: Config) -> str:
    """Return the name of the datasets for these values of the data settings."""
    return json.dumps(config, sort_keys=True, default=str)


def prepare_context(
    recipe: Recipe,
    parameters: Sequence[Parameter],
    store: Store,
    address: str | None,
    placement: TrialPlacement,
    watch: Watch = ignore,
    before: Callable[[], object] = lambda: None,
) -> tuple[SearchContext, dict[str, list[EncodedDataset]], list[str]]:
    """Prepare the datasets of every variant; `before` is called before anything is written, and may raise.

    Also returns the open datasets of each variant, and the lines on the training orders.
    """
    first = {each.name: (each.values() or (each.space.low,))[0] for each in parameters}  # type: ignore[union-attr]
    variants, opened, orders = {}, {}, []
    for values in data_variants(parameters):
        variant_recipe = trial_recipe(recipe, {**first, **values})
        # Epochs are those of the trial; only the entry that each dataset comes from matters here.
        entries = tuple(
            Entry(entry.keys.model_copy(update={"epochs": number}), entry.settings)
            for number, entry in enumerate(variant_recipe.entries, 1)
        )
        numbered = dataclasses.replace(variant_recipe, entries=entries)
        prepared = prepare_watched(numbered, store.storage, address, watch, before)
        epochs = [count for count in prepared.epochs if count]
        # A search compares trained datasets only: no state depends on the others.
        datasets = prepared.datasets[: len(epochs)]
        references = tuple(map(DatasetRef.of, datasets))
        key = variant_name(values)
        orders.append(prepared.order)
        variants[key] = Variant(references, tuple(number - 1 for number in epochs))
        opened[key] = datasets
        if not any(naive_error(each, "validation", variant_recipe.model.loss) for each in datasets):
            raise InputError(
                "search: no dataset has validation samples to compare trials by: add a validation part to split"
            )
    names = tuple(each.name for each in parameters if each.changes_data)
    context = SearchContext(
        dict(recipe.document), recipe.folder, names, variants, store.address, _discard, placement.num_workers,
        placement.use_gpu, recipe.compute.device_memory, cpus=placement.cpus, one_node=placement.one_node,
    )  # fmt: skip
    return context, opened, [words for words in dict.fromkeys(orders) if words]


def _discard(event: RunEvent) -> None:
    """Discard an event, until the trials have a channel."""
