"""A prepared dataset by reference, to send to other processes and open there."""

from __future__ import annotations

from dataclasses import dataclass

from data.prepared.cache import PreparedCache
from data.prepared.encoding import EncodedDataset, Encoding
from data.prepared.prepared import PreparedDataset


@dataclass(frozen=True)
class DatasetRef:
    """A dataset by the fingerprint of its rows, with its encoding; `season` in rows, None without a season."""

    fingerprint: str
    name: str
    encoding: Encoding
    season: int | None

    @staticmethod
    def of(dataset: EncodedDataset) -> DatasetRef:
        """Return the reference of an open dataset."""
        return DatasetRef(dataset.prepared.folder.name, dataset.name, dataset.encoding, dataset.season)

    def open(self, prepared_cache: PreparedCache) -> EncodedDataset:
        """Map the dataset into this process."""
        prepared = PreparedDataset(prepared_cache.fetch(self.fingerprint), self.name)
        return EncodedDataset(prepared, self.encoding, self.season or 0)
