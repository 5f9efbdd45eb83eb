"""Every write or deletion of a command fails, is cut, or is the last before a kill; then the same command ends as alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attacked import BUCKET, COMMANDS, FOLDER, Stores


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    folder = tmp_path_factory.mktemp("stores")
    return Stores.make(folder, str(folder), FOLDER)


@pytest.fixture(scope="module")
def bucket_stores(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("bucket")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LSTM_RELAY_CACHE", str(folder / "cache"))
        yield Stores.make(folder, bucket, BUCKET)


@pytest.mark.parametrize("name", COMMANDS)
def test_after_an_attack_at_one_change_the_same_command_ends_as_alone(name: str, stores: Stores) -> None:
    number = list(COMMANDS).index(name)
    place = stores.changes_of(name).count * (number + 1) // 10
    assert stores.attack(name, place, FOLDER.hows[number % 3])


def test_files_that_arrow_writes_are_attacked_too(stores: Stores) -> None:
    assert stores.changes_of("prepare").arrow == 4
    assert stores.changes_of("prepare in parts").arrow > 8


@pytest.mark.long
@pytest.mark.parametrize("how", FOLDER.hows)
@pytest.mark.parametrize("name", COMMANDS)
def test_after_an_attack_at_any_change_the_same_command_ends_as_alone(name: str, how: str, stores: Stores) -> None:
    for place in range(stores.changes_of(name).count):
        stores.attack(name, place, how)


@pytest.mark.long
@pytest.mark.parametrize("how", BUCKET.hows)
@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_in_a_bucket(name: str, how: str, bucket_stores: Stores) -> None:
    for place in range(bucket_stores.changes_of(name).count):
        bucket_stores.attack(name, place, how)
