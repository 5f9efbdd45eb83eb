"""What `verify` reports besides damaged files, and how `train` repairs it."""

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
    result = Store(str(storage)).result("small", dict)
    assert result is not None
    return str(result["key"])


def last_epochs(storage: Path) -> list[str]:
    result = Store(str(storage)).result("small", dict)
    assert result is not None
    return list(result["stages"][-1]["keys"])


def train(folder: Path) -> tuple[int, str, str]:
    return invoke("train", str(folder / "small.toml"), "--storage", str(folder / "runs"))


def test_a_file_or_a_link_instead_of_a_states_folder_is_reported_and_moved_away(copied: Path) -> None:
    storage = copied / "runs"
    before = invoke("evaluate", "small", "--json", "-", "--storage", str(storage))[1]
    key = key_of(storage)
    derived = [f"derived/{path.name}" for path in (storage / "derived").iterdir()]
    ways: list[tuple[str, Callable[[Path], object]]] = [
        (f"evaluations/{key}", lambda path: path.write_text("mine")),
        (f"checkpoints/{key}", lambda path: path.write_text("mine")),
        *((path, lambda path: path.symlink_to("nowhere")) for path in derived),
    ]
    for path, put in ways:
        shutil.rmtree(storage / path)
        put(storage / path)
    damaged = {each.path for each in verify(Store(str(storage))).damaged}
    assert {path for path, _ in ways} <= damaged
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


@pytest.mark.parametrize("folder", ["runs/small", "runs", "evaluations", "checkpoints", "leases"])
def test_a_file_instead_of_another_folder_is_named_and_left_alone(copied: Path, folder: str) -> None:
    storage = copied / "runs"
    shutil.rmtree(storage / folder, ignore_errors=True)
    (storage / folder).write_text("mine")
    code, out, err = train(copied)
    assert code in (1, 2), out
    assert len(err.strip().splitlines()) == 1
    assert f"{storage / folder}" in err
    assert "move it away" in err
    assert (storage / folder).read_text() == "mine"
    (storage / folder).unlink()
    assert train(copied)[0] == 0


def test_epochs_trained_on_rows_without_a_hash_are_reported_as_unchecked(copied: Path) -> None:
    """Epochs of a version without the note count as unchecked too: they are used, and `verify` reports them."""
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
    report = verify(Store(str(storage)))
    (finding,) = [each for each in report.findings if each.path == "runs/small"]
    assert (finding.kind, report.damaged) == ("unchecked", [])
    assert finding.what.startswith("1 of its 3 epochs were trained on rows without a hash")
    for path in (storage / "checkpoints").glob("*/facts.json"):
        content = unsealed(path.read_bytes())
        assert content is not None
        content.pop("rows_checked")  # as earlier versions wrote it
        path.write_bytes(sealed(content))
    (finding,) = [each for each in verify(Store(str(storage))).findings if each.path == "runs/small"]
    assert finding.what.startswith("3 of its 3 epochs")
    assert invoke("verify", "--storage", str(storage))[0] == 0


def test_a_best_recipe_that_is_not_that_of_the_search_is_named(copied: Path) -> None:
    storage = copied / "runs"
    search = {"status": "finished", "key": None, "trials": [], "epochs_requested": 0, "best_recipe": "seed = 1\n"}
    (storage / "runs" / "small" / "search.json").write_bytes(signed(search))
    (storage / "runs" / "small" / "best.toml").write_text("seed = 2\n")
    assert [each.path for each in verify(Store(str(storage))).damaged] == ["runs/small/best.toml"]
    (storage / "runs" / "small" / "best.toml").write_text("seed = 1\n")
    assert verify(Store(str(storage))).damaged == []
