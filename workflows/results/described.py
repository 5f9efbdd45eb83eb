"""The datasets of a run as described in datasets.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from data.prepared.encoding import EncodedDataset, Encoding
from data.reading.settings import DatasetSource, DataSettings
from workflows.prepare.preparation import Prepared
from workflows.results.run_result import RunResult
from workflows.store.run_record import RunRecord


@dataclass(frozen=True)
class DescribedDataset:
    """A dataset of a run without its files: the fingerprint of its prepared rows, how they are read and encoded."""

    prepared: str
    epochs: int
    source: DatasetSource
    encoding: Encoding

    @staticmethod
    def of(dataset: EncodedDataset, source: DatasetSource, epochs: int) -> DescribedDataset:
        """Return the description of an open dataset."""
        return DescribedDataset(dataset.prepared.folder.name, epochs, source, dataset.encoding)

    def to_json(self) -> dict[str, Any]:
        """Return an entry of datasets.json."""
        return {
            "name": self.source.name,
            "prepared": self.prepared,
            "epochs": self.epochs,
            "where": self.source.where,
            "classes": self.source.classes,
            "settings": self.source.settings.model_dump(mode="json"),
            "encoding": asdict(self.encoding),
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> DescribedDataset:
        """Return the dataset that an entry of datasets.json describes; raises ValueError for unknown settings."""
        settings, encoded = DataSettings.model_validate(content["settings"]), content["encoding"]
        source = DatasetSource(content["name"], (), settings, where=content["where"], classes=content["classes"])
        numbers = {name: tuple(encoded[name]) for name in ("center", "scale", "fill")}
        encoding = Encoding(
            **numbers,
            categories=encoded["categories"],
            classes=encoded["classes"],
            class_weights=tuple(encoded.get("class_weights", ())),
        )
        return DescribedDataset(content["prepared"], content["epochs"], source, encoding)


def describe_datasets(prepared: Prepared) -> list[DescribedDataset]:
    """Return the descriptions of the datasets of a run, in the order of training."""
    datasets = zip(prepared.datasets, prepared.sources, prepared.epochs, strict=True)
    return [DescribedDataset.of(dataset, source, epochs) for dataset, source, epochs in datasets]


def written_datasets(described: Sequence[DescribedDataset]) -> bytes:
    """Return the content of datasets.json."""
    return json.dumps([each.to_json() for each in described], indent=1).encode()


def record_of(result: RunResult, recipe: str, described: Sequence[DescribedDataset]) -> RunRecord:
    """Return a run as the store publishes it: its result, its recipe as TOML text, and its datasets."""
    return RunRecord(result.to_json(), recipe, [each.to_json() for each in described])
