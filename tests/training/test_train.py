"""Whole runs on one Ray session that all tests of this file share."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small import MACHINES, Run, write_machine, write_small
from typer.testing import CliRunner

from data.errors import InputError
from workflows.cli.commands import app
from workflows.recipe.recipe import load_recipe
from workflows.relay.events import Damaged, Planned
from workflows.results.events import Event
from workflows.store.store import Store
from workflows.training.run import train

pytestmark = pytest.mark.ray


def run(
    folder: Path, storage: Path, workers: int = 0, name: str | None = None, overrides: tuple[str, ...] = (), **sections: Any
) -> dict[str, Any]:
    recipe = load_recipe(write_small(folder, **sections), overrides)
    return train(recipe, storage, name, workers).to_json()


@pytest.fixture(scope="module")
def trained(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, run(folder, folder / "runs")


@pytest.fixture
def copied(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """Return a new copy of the folder with the finished run."""
    shutil.copytree(trained[0], tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


def test_a_run_writes_its_complete_result(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, result = trained
    written = json.loads((folder / "runs" / "runs" / "small" / "result.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert {
        "name", "status", "key", "datasets", "stages", "error_matrix", "test", "mean_scaled_error", "forgetting",
        "backward_transfer", "forward_transfer", "epochs_requested", "epochs_trained", "samples_per_second", "seconds",
        "workers", "versions",
    } <= set(written)  # fmt: skip
    store = Store(str(folder / "runs"))
    assert written["status"] == "finished"
    assert written["datasets"] == ["anvil", "bellows", "crane"]
    assert written["error_matrix"]["after"] == ["untrained", "anvil", "bellows", "crane"]
    assert [len(row) for row in written["error_matrix"]["validation"]] == [3, 3, 3, 3]
    assert (written["epochs_requested"], written["epochs_trained"]) == (6, 6)
    assert [stage["learning_rate"] for stage in written["stages"]] == pytest.approx([0.01, 0.008, 0.0064])
    assert [stage["learning_rates_used"] for stage in written["stages"]] == [
        pytest.approx([rate] * 2) for rate in (0.01, 0.008, 0.0064)
    ]
    for number, stage in enumerate(written["stages"]):
        assert {"dataset", "learning_rate", "epochs", "keys", "train_loss", "validation_error", "attempts"} <= set(stage)
        error = written["error_matrix"]["validation"][number + 1][number]
        assert stage["key"] not in stage["keys"]  # the average of its last steps, with another error than the last epoch
        assert error in [errors.error for errors in store.evaluations(stage["key"]).values()]
        assert error < written["error_matrix"]["validation"][0][number]
    assert set(written["seconds"]) == {"prepare", "start", "fit", "evaluate", "total"}
    for test in written["test"].values():
        assert test["samples"] > 0
        assert test["scaled_error"] == pytest.approx(test["error"] / test["naive_error"])
        assert test["rmse_units"][0] >= test["mae_units"][0] > 0
    assert (folder / "runs" / "runs" / "small" / "recipe.toml").exists()


def test_a_finished_run_trains_nothing_and_has_the_same_result(copied: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    again = run(copied, copied / "runs")
    assert again["epochs_trained"] == 0
    assert again["key"] == trained[1]["key"]
    assert again["error_matrix"] == trained[1]["error_matrix"]


@pytest.mark.slow
def test_two_workers_of_ray_train_give_what_one_process_gives(undisturbed: Run, undisturbed_by_two: Run) -> None:
    """Takes about 12 s if no other test has used the run on two workers."""
    (_, one), (folder, two) = undisturbed, undisturbed_by_two
    assert (one["workers"], two["workers"]) == (1, 2)
    assert two["key"] == one["key"]
    for by_two, alone in zip(two["error_matrix"]["validation"], one["error_matrix"]["validation"], strict=True):
        assert by_two == pytest.approx(alone, rel=1e-5)
    for by_two, alone in zip(two["stages"], one["stages"], strict=True):
        assert by_two["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-5)
    assert train(load_recipe(folder / "small.toml"), folder / "runs", "again", 0).to_json()["epochs_trained"] == 0


def test_an_appended_dataset_is_all_that_is_trained(copied: Path) -> None:
    write_machine(copied / "drill.csv", 3)
    datasets = [{"name": name, "path": f"{name}.csv"} for name in (*MACHINES, "drill")]
    datasets[-1]["epochs"] = 3
    result = run(copied, copied / "runs", datasets=datasets)
    assert (result["epochs_requested"], result["epochs_trained"]) == (9, 3)


def test_the_recipe_beside_a_result_means_the_same_elsewhere(copied: Path) -> None:
    written = copied / "runs" / "runs" / "small" / "recipe.toml"
    (copied / "elsewhere").mkdir()
    moved = copied / "elsewhere" / "recipe.toml"
    run(copied, copied / "runs")
    moved.write_text(written.read_text())
    assert train(load_recipe(moved), copied / "runs", "again", 0).to_json()["epochs_trained"] == 0


def test_a_dataset_that_changes_the_shared_scaling_gives_a_warning_before_all_is_retrained(
    ray_session: None, tmp_path: Path
) -> None:
    shared = {"scaling_scope": "shared"}
    run(tmp_path, tmp_path / "runs", data=shared)
    write_machine(tmp_path / "drill.csv", 3)
    datasets = [{"name": name, "path": f"{name}.csv"} for name in (*MACHINES, "drill")]
    events: list[Event] = []
    recipe = load_recipe(write_small(tmp_path, data=shared, datasets=datasets))
    result = train(recipe, tmp_path / "runs", None, 0, watch=events.append).to_json()
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert any("every epoch is retrained" in warning and "anvil, bellows, crane" in warning for warning in planned.warnings)
    assert result["epochs_trained"] == 8


def test_workers_that_cannot_be_placed_are_refused_before_anything_is_written(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compute: 99 workers do not fit on 2 cores .* write num_workers = 8 or fewer"):
        run(tmp_path, tmp_path / "runs", workers=99)
    assert not (tmp_path / "runs").exists()


def test_only_what_comes_after_a_change_is_trained(copied: Path) -> None:
    longer = run(copied, copied / "runs", overrides=("datasets.crane.epochs=5",))
    assert longer["epochs_trained"] == 3
    decayed = run(copied, copied / "runs", overrides=("training.decay_rate=0.5",))
    assert decayed["epochs_trained"] == 4


@pytest.mark.parametrize(
    "change",
    [{"name": "another"}, {"overrides": ("compute.num_workers=1",)}, {"overrides": ("data.split=[0.7, 0.1, 0.2]",)}],
)
def test_a_change_without_influence_on_numbers_trains_nothing(copied: Path, change: dict[str, Any]) -> None:
    assert run(copied, copied / "runs", **change)["epochs_trained"] == 0


def test_renamed_datasets_train_nothing(copied: Path) -> None:
    for name in ("anvil", "bellows", "crane"):
        (copied / f"{name}.csv").rename(copied / f"new_{name}.csv")
    recipe = copied / "small.toml"
    recipe.write_text(recipe.read_text().replace('name = "', 'name = "new_').replace('path = "', 'path = "new_'))
    result = train(load_recipe(recipe), copied / "runs", "small", 0).to_json()
    assert result["epochs_trained"] == 0
    assert result["datasets"] == ["new_anvil", "new_bellows", "new_crane"]


def test_another_validation_row_renews_evaluations_and_trains_nothing(
    copied: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    lines = (copied / "bellows.csv").read_text().splitlines()
    row = int(len(lines) * 0.75)
    lines[row] = lines[row].rsplit(",", 1)[0] + ",9.5"
    (copied / "bellows.csv").write_text("\n".join(lines) + "\n")
    result = train(load_recipe(copied / "small.toml"), copied / "runs", None, 0).to_json()
    assert result["epochs_trained"] == 0
    assert result["key"] == trained[1]["key"]
    before, after = trained[1]["error_matrix"]["validation"], result["error_matrix"]["validation"]
    assert [row[0] for row in after] == [row[0] for row in before]
    assert [row[1] for row in after] != [row[1] for row in before]


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "facts.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "delete"])
def test_a_damaged_checkpoint_is_trained_again_to_the_same_result(
    copied: Path, trained: tuple[Path, dict[str, Any]], file: str, how: str
) -> None:
    from test_store import damage

    key = trained[1]["stages"][1]["keys"][0]
    final = Store(str(copied / "runs")).load(trained[1]["key"])
    before = Store(str(copied / "runs")).load(key)
    damage(copied / "runs" / "checkpoints" / key / file, how)
    events: list[Event] = []
    result = train(load_recipe(copied / "small.toml"), copied / "runs", None, 0, watch=events.append).to_json()
    assert any(isinstance(event, Damaged) and key in event.message and file in event.message for event in events)
    assert result["epochs_trained"] == 1
    assert result["error_matrix"] == trained[1]["error_matrix"]
    again = Store(str(copied / "runs")).load(key)
    assert all(torch.equal(before.model[name], again.model[name]) for name in before.model)
    assert final.model.keys() == Store(str(copied / "runs")).load(result["key"]).model.keys()


def test_the_best_epoch_is_handed_over(ray_session: None, tmp_path: Path) -> None:
    result = run(tmp_path, tmp_path / "runs", training={"handover": "best", "epochs": 4, "learning_rate": 0.05})
    for number, stage in enumerate(result["stages"]):
        best = min(range(4), key=lambda epoch: stage["validation_error"][epoch])
        assert stage["handed_over"] == best + 1
        if number:
            record = Store(str(tmp_path / "runs")).record(stage["keys"][0])
            before = result["stages"][number - 1]
            assert record is not None
            assert record.parent == before["keys"][before["handed_over"] - 1]


def test_messages_of_ray_are_in_the_log_of_their_run(ray_session: None, tmp_path: Path) -> None:
    path = write_small(tmp_path)

    def speak(event: Event) -> None:
        if isinstance(event, Planned):  # prepared, and not yet placed
            logging.getLogger("ray.data").warning("of seed %s", event.plan.seed)

    for seed in ("1", "2"):
        train(load_recipe(path, [f"seed={seed}", "training.epochs=1"]), tmp_path / "runs", seed, 0, watch=speak)
    for seed, other in (("1", "2"), ("2", "1")):
        log = (tmp_path / "runs" / "runs" / seed / "ray.log").read_text()
        assert f"of seed {seed}" in log
        assert f"of seed {other}" not in log


def test_many_datasets_in_one_file_are_read_by_one_entry(ray_session: None, tmp_path: Path) -> None:
    recipe = write_small(tmp_path)
    rows = ["machine,step,load,heat"]
    for name in ("anvil", "bellows", "crane"):
        rows += [f"{name},{line}" for line in (tmp_path / f"{name}.csv").read_text().splitlines()[1:]]
    (tmp_path / "all.csv").write_text("\n".join(rows) + "\n")
    separate = train(load_recipe(recipe), tmp_path / "runs", None, 0).to_json()
    together = run(tmp_path, tmp_path / "runs", datasets=[{"name": "{machine}", "path": "all.csv"}])
    assert together["datasets"] == separate["datasets"]
    assert (together["key"], together["epochs_trained"]) == (separate["key"], 0)


def test_bad_files_stop_a_run_before_anything_is_written(ray_session: None, tmp_path: Path) -> None:
    recipe = write_small(tmp_path)
    lines = (tmp_path / "bellows.csv").read_text().splitlines()
    lines[7] = lines[7].replace(lines[7].split(",")[1], "broken")
    (tmp_path / "bellows.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"bellows.csv, line 8, column 'load': 'broken'"):
        train(load_recipe(recipe), tmp_path / "runs", None, 0)
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_earlier_epochs(ray_session: None, tmp_path: Path) -> None:
    from workflows.relay.failures import RunFailedError

    recipe = load_recipe(write_small(tmp_path))
    good = train(recipe, tmp_path / "runs", None, 0).to_json()
    write_small(tmp_path, training={"epochs": 2, "decay_rate": [1.0, 1.0], "learning_rate": 0.01, "gradient_clip": 0.0})
    bad = load_recipe(tmp_path / "small.toml", ["training.learning_rate=1e30"])
    with pytest.raises(RunFailedError, match=r"dataset 'anvil', epoch \d, step \d+ of \d+: the loss is (nan|inf)"):
        train(bad, tmp_path / "runs", "bad", 0)
    assert Store(str(tmp_path / "runs")).runs(dict)[0]["bad"]["status"] == "failed"
    assert train(recipe, tmp_path / "runs", None, 0).to_json()["key"] == good["key"]


def test_a_guard_that_stops_gives_the_reason_and_a_changed_recipe_resumes(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("guard.action=stop", "guard.tolerance=0.0", "training.decay_rate=1.0")
    stopped = run(copied, copied / "runs", overrides=overrides)
    assert stopped["status"] == "stopped"
    (words,) = stopped["guard"]
    number = stopped["datasets"].index(words["dataset"])
    assert len(stopped["stages"]) == number == words["stage"]
    assert stopped["key"] == stopped["stages"][-1]["key"]
    assert words["attempts"][0]["rise"]["after"] > words["attempts"][0]["rise"]["before"]
    assert set(stopped["test"]) == set(MACHINES)
    again = run(copied, copied / "runs", overrides=overrides)
    assert (again["status"], again["epochs_trained"]) == ("stopped", 0)
    options = [
        "--storage",
        str(copied / "runs"),
        "--workers",
        "0",
        *(word for each in overrides for word in ("--set", each)),
    ]
    result = CliRunner().invoke(app, ["train", str(copied / "small.toml"), *options])
    assert result.exit_code == 1
    assert f"The guard stopped the run before {words['dataset']}." in result.stdout
    mended = run(copied, copied / "runs", overrides=("guard.tolerance=0.0", "training.decay_rate=1.0"))
    assert mended["status"] == "finished"
    assert mended["epochs_trained"] == 2 * (len(MACHINES) - number - 1)
    assert len(mended["guard"]) >= 1


def test_a_guard_that_tries_again_has_its_attempts_in_the_result(copied: Path) -> None:
    overrides = ("guard.action=retry", "guard.tolerance=0.0", "guard.max_attempts=2", "training.decay_rate=1.0")
    result = run(copied, copied / "runs", overrides=overrides)
    tried = [stage["attempts"] for stage in result["stages"]]
    assert max(tried) == 2
    assert [len(words["attempts"]) for words in result["guard"]] == [count for count in tried if count > 1]
    for words in result["guard"]:
        kept = words["attempts"][words["kept"] - 1]
        assert result["stages"][words["stage"]]["key"] == kept["key"]
        assert result["stages"][words["stage"]]["learning_rate"] == pytest.approx(kept["learning_rate"])
