"""What `verify` says of a store beyond its damaged files, and what `train` makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import invoke
from small import write_small

from data.signed import signed
from workflows.results.verify import verify
from workflows.store.kept import sealed, unsealed
from workflows.store.store import Store

QUICK = {
    "rows": 120,
    "model": {"hidden_size": 4},
    "training": {"epochs": 1, "batch_size": 32},
    "retention": {"method": "ewc", "memory": 8},  # so that tensors are kept
    "compute": {"num_workers": 0},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert invoke("train", str(write_small(folder, **QUICK)), "--storage", str(folder / "runs"))[0] == 0
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


def key_of(storage: Path) -> str:
    found = Store(str(storage)).result("small")
    assert found is not None
    return str(found["key"])


def last_epochs(storage: Path) -> list[str]:
    found = Store(str(storage)).result("small")
    assert found is not None
    return list(found["stages"][-1]["keys"])


def train(folder: Path) -> tuple[int, str, str]:
    return invoke("train", str(folder / "small.toml"), "--storage", str(folder / "runs"))


def test_a_file_or_a_link_in_the_place_of_a_states_folder_is_found_and_given_another_place(copied: Path) -> None:
    storage = copied / "runs"
    before = invoke("evaluate", "small", "--json", "-", "--storage", str(storage))[1]
    key = key_of(storage)
    derived = [f"derived/{path.name}" for path in (storage / "derived").iterdir()]
    ways: list[tuple[str, Callable[[Path], object]]] = [
        (f"evaluations/{key}", lambda path: path.write_text("mine")),
        (f"checkpoints/{key}", lambda path: path.write_text("mine")),
        *((place, lambda path: path.symlink_to("nowhere")) for place in derived),
    ]
    for place, put in ways:
        shutil.rmtree(storage / place)
        put(storage / place)
    found = {each.path for each in verify(Store(str(storage))).damaged}
    assert {place for place, _ in ways} <= found
    for last in last_epochs(storage):  # so that the tensors are needed again
        shutil.rmtree(storage / "checkpoints" / last)
    code, out, err = train(copied)
    assert (code, err) == (0, ""), out
    left = {each.path for each in verify(Store(str(storage))).damaged}
    assert left < set(derived)  # a tensor that the last epochs do not need is made again when something does
    assert key_of(storage) == key
    assert json.loads(invoke("evaluate", "small", "--json", "-", "--storage", str(storage))[1])["mean_scaled_error"] == (
        pytest.approx(json.loads(before)["mean_scaled_error"], rel=1e-5)
    )
    kept = [path.read_text() for path in (storage / "damaged").glob("*/*") if path.is_file() and path.name != "why.txt"]
    assert kept == ["mine", "mine"]


@pytest.mark.parametrize("place", ["runs/small", "runs", "evaluations", "checkpoints", "leases"])
def test_a_file_in_the_place_of_another_folder_is_named_and_left_alone(copied: Path, place: str) -> None:
    storage = copied / "runs"
    shutil.rmtree(storage / place, ignore_errors=True)
    (storage / place).write_text("mine")
    code, out, err = train(copied)
    assert code in (1, 2), out
    assert len(err.strip().splitlines()) == 1
    assert f"{storage / place}" in err
    assert "move it away" in err
    assert (storage / place).read_text() == "mine"
    (storage / place).unlink()
    assert train(copied)[0] == 0


def test_epochs_trained_on_rows_that_had_no_hash_are_said_to_be_unchecked(copied: Path) -> None:
    """So may be those of a version that did not note it: they are used, and nobody is told that they are right."""
    storage = copied / "runs"
    assert [each.kind for each in verify(Store(str(storage))).findings] == []
    for folder in (storage / "prepared").glob("?" * 32):
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["manifest_sha256"]
        for part in manifest["parts"]:
            part["files"] = {}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    for key in {key_of(storage), *last_epochs(storage)}:
        shutil.rmtree(storage / "checkpoints" / key)
    assert train(copied)[0] == 0
    found = verify(Store(str(storage)))
    (told,) = [each for each in found.findings if each.path == "runs/small"]
    assert (told.kind, found.damaged) == ("unchecked", [])
    assert told.what.startswith("1 of its 3 epochs were trained on rows without a hash")
    for path in (storage / "checkpoints").glob("*/facts.json"):
        content = unsealed(path.read_bytes())
        assert content is not None
        content.pop("rows_checked")  # as earlier versions wrote it
        path.write_bytes(sealed(content))
    (told,) = [each for each in verify(Store(str(storage))).findings if each.path == "runs/small"]
    assert told.what.startswith("3 of its 3 epochs")
    assert invoke("verify", "--storage", str(storage))[0] == 0


def test_a_best_recipe_that_is_not_that_of_the_search_is_named(copied: Path) -> None:
    storage = copied / "runs"
    search = {"status": "finished", "key": None, "trials": [], "epochs_requested": 0, "best_recipe": "seed = 1\n"}
    (storage / "runs" / "small" / "search.json").write_bytes(signed(search))
    (storage / "runs" / "small" / "best.toml").write_text("seed = 2\n")
    assert [each.path for each in verify(Store(str(storage))).damaged] == ["runs/small/best.toml"]
    (storage / "runs" / "small" / "best.toml").write_text("seed = 1\n")
    assert verify(Store(str(storage))).damaged == []
