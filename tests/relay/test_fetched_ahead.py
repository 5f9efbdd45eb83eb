"""The rows of the next dataset are fetched from the object store while this one is fitted, if the cache has space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_cases import encoded, source_of, write_csv
from helpers import plan_of
from panels import cut_into_parts, panel, prepared_in
from s3_log import Request, requests

from data.prepared.cache import PreparedCache
from data.prepared.encoding import EncodedDataset
from data.prepared.prepared import PreparedDataset
from data.reading.settings import DatasetSource
from workflows.fit.group import Group
from workflows.relay.events import EpochStarted
from workflows.relay.walk import Walker
from workflows.store.store import Store


def source(number: int, folder: Path) -> DatasetSource:
    frame = panel(1, 1200, number)[["t", "a"]].fillna(0.0)
    settings: dict[str, Any] = {"time": "t", "frequency": "1h", "lookback": 12, "horizon": 1}
    return source_of(write_csv(frame, folder / f"d{number}.csv"), name=f"d{number}", **settings)


@pytest.fixture
def datasets(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[EncodedDataset]]:
    """Return two datasets of several parts in a new store, on a machine that has read none of their rows."""
    cut_into_parts(monkeypatch, 256)
    monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / "first"))
    address = f"{bucket}/{tmp_path.name}"
    made = [prepared_in(address, source(number, tmp_path)) for number in (0, 1)]
    monkeypatch.setenv("LSTM_RELAY_CACHE", str(tmp_path / "second"))
    fetched = [PreparedDataset(PreparedCache(address).fetch(each.folder.name), each.name, each.settings) for each in made]
    assert all(len(each.manifest.parts) == 5 for each in fetched)
    return address, encoded(fetched)


def walk(address: str, datasets: list[EncodedDataset]) -> list[Request]:
    """Walk and return the requests to the server; each epoch waits for the prefetch, so that the order is fixed."""

    def emit(event: object) -> None:
        if isinstance(event, EpochStarted):
            walker.ahead.prefetch.wait()

    begin = len(requests())
    plan = plan_of(datasets, [1, 1], {"hidden_size": 4}, batch_size=64)
    walker = Walker(plan, datasets, Store(address), Group(), emit)
    walker.walk()
    return requests()[begin:]


def first_and_last(seen: list[Request], method: str, part: str) -> tuple[int, int]:
    positions = [position for position, each in enumerate(seen) if each.method == method and part in each.path]
    return positions[0], positions[-1]


def test_train_rows_of_the_next_dataset_are_fetched_before_this_one_is_done(datasets: Any) -> None:
    address, (first, second) = datasets
    seen = walk(address, [first, second])
    names = [each.prepared.folder.name for each in (first, second)]
    puts = [(position, each.path.split("/")) for position, each in enumerate(seen) if each.method == "PUT"]
    commits: dict[str, int] = {}
    for position, path in puts:
        if "checkpoints" in path:
            commits.setdefault(path[path.index("checkpoints") + 1], position)
    untrained, epoch_of_first, *later = sorted(commits.values())  # and averages of weights
    own_rows = first_and_last(seen, "GET", f"prepared/{names[0]}/values-00000")
    ahead = first_and_last(seen, "GET", f"prepared/{names[1]}/values-00000")
    assert len(later) >= 1
    assert untrained < own_rows[0] < epoch_of_first
    assert ahead[1] < epoch_of_first
    for name in names:  # each file once
        for kind in ("values", "samples"):
            for number in range(5):
                asked = [each for each in seen if each.method == "GET" and f"{name}/{kind}-{number:05d}" in each.path]
                assert len(asked) <= 1


def test_nothing_is_fetched_ahead_if_the_cache_has_no_space_for_both(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address, (first, second) = datasets
    size = sum(num_bytes for num_bytes, _ in first.prepared.files.known.values())
    monkeypatch.setenv("LSTM_RELAY_CACHE_GB", str(1.5 * size / 1e9))
    prefetch = Walker(
        plan_of([first, second], [1, 1], {"hidden_size": 4}), [first, second], Store(address), Group(), lambda event: None
    ).ahead
    prefetch.fetch(0)
    prefetch.prefetch.wait()
    assert list(second.prepared.folder.glob("*.arrow")) == []
    monkeypatch.setenv("LSTM_RELAY_CACHE_GB", str(3 * size / 1e9))
    again = type(prefetch)(prefetch.plan, [first, second])
    again.fetch(0)
    again.prefetch.wait()
    assert len(list(second.prepared.folder.glob("*.arrow"))) == 10
    again.fetch(1)  # there is no stage after it
    assert not list(first.prepared.folder.glob("*.arrow"))


def test_an_evaluation_fetches_the_parts_of_its_split_alone(datasets: Any) -> None:
    _, (first, _) = datasets
    samples = np.arange(first.num_samples("test"))
    first.batch("test", samples)
    first.lengths("test")
    files = {file.name for file in first.prepared.folder.glob("*.arrow")}
    assert "values-00004.arrow" in files
    assert "values-00000.arrow" not in files
