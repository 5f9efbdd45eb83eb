"""The output and exit codes of the commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import ENTRANCES, invoke
from small import write_small
from test_store import KEY, state

from workflows.store.kept import EpochRecord
from workflows.store.store import Store

COMMANDS = {
    "workflows": (
        "train",
        "search",
        "extend",
        "compare",
        "prepare",
        "inspect",
        "report",
        "evaluate",
        "predict",
        "export",
        "runs",
        "log",
        "rollback",
        "clean",
        "verify",
        "schema",
    ),
    "cluster": ("submit", "status", "logs", "stop", "doctor"),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_the_commands_are_these(entrance: str) -> None:
    names = [
        each.name or each.callback.__name__
        for each in ENTRANCES[entrance].registered_commands
        if each.callback and not each.hidden
    ]
    assert sorted(names) == sorted(COMMANDS[entrance])


@pytest.mark.parametrize(("entrance", "command"), [(each, command) for each in COMMANDS for command in COMMANDS[each]])
def test_every_command_has_help_with_an_example(entrance: str, command: str) -> None:
    code, out, _ = invoke(command, "--help", entrance=entrance)
    assert code == 0
    typed = "lstm-relay" if entrance == "workflows" else f"python -m {entrance}"
    assert f"Example: {typed} {command}" in out


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["train", "nowhere.toml"], ["nowhere.toml", "no such file", "demo"]),
        (["train", "demo", "--set", "training.decayrate=0.5"], ["'decayrate'", "did you mean 'decay_rate'?"]),
        (["train", "demo", "--name", "a/b"], ["--name", "'a/b'", "no slash"]),
        (["log", "nobody"], ["nobody", "no such run"]),
        (["rollback", "nobody", "--to", "1"], ["nobody", "no finished run"]),
    ],
)
def test_wrong_input_exits_with_2_and_one_message_and_writes_nothing(
    words: list[str], messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = invoke(*words)
    assert code == 2
    for message in messages:
        assert message in err
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named_with_its_neighbours_before_ray_starts(tmp_path: Path) -> None:
    recipe = write_small(tmp_path / "in")
    (tmp_path / "in" / "crane.csv").unlink()
    code, _, err = invoke("train", str(recipe), "--storage", str(tmp_path / "runs"))
    assert code == 2
    assert "crane.csv" in err
    assert "anvil.csv" in err
    assert not (tmp_path / "runs").exists()


def test_missing_files_are_reported_with_the_entry_if_its_name_comes_from_them(tmp_path: Path) -> None:
    recipe = write_small(tmp_path, datasets=[{"name": "site_{file}", "path": "none/*.csv"}])
    code, _, err = invoke("train", str(recipe), "--storage", str(tmp_path / "runs"))
    assert code == 2
    assert "[[datasets]] 1 (name = 'site_{file}'): " in err
    assert "no file matches" in err


def test_a_folder_that_is_no_storage_is_not_cleaned(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        code, out, err = invoke("clean", "--storage", str(folder))
        assert code == 2
        assert f"--storage {folder}: " in err
        assert "items" not in out
    assert f"the folder {tmp_path / 'nowhere'} does not exist" in invoke("runs", "--storage", str(tmp_path / "nowhere"))[1]
    assert f"No runs in {tmp_path}" in invoke("runs", "--storage", str(tmp_path))[1]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("command", [["train", "demo"], ["runs"], ["clean"], ["prepare", "demo"]])
def test_a_storage_that_is_a_file_is_refused(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = invoke(*command, "--storage", str(tmp_path / "file"))
    assert code == 2
    assert "this is not a folder" in err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("recipe", ["demo", "small"])  # built-in data, and files
@pytest.mark.parametrize("folder", ["file/sub", "/proc/nowhere"])
def test_a_storage_that_cannot_be_made_is_refused_without_a_traceback(recipe: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    path = recipe if recipe == "demo" else str(write_small(tmp_path / "in"))
    code, out, err = invoke("train", path, "--workers", "0", "--storage", str(tmp_path / folder))
    assert code == 2
    assert f"--storage: {tmp_path / folder}" in err
    assert "cannot be written" in err
    assert "/." not in err  # no name of a scratch folder
    assert "Traceback" not in out + err


def test_a_run_that_has_not_ended_is_listed_and_logged(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.commit(KEY, state(), EpochRecord(KEY, None))
    store.commit("fedcba9876543210", state(), EpochRecord("fedcba9876543210", KEY, learning_rate=0.01, train_loss=0.5))
    run = {"name": "small", "status": "interrupted", "key": "fedcba9876543210", "datasets": ["anvil"], "epochs_requested": 6}
    store.write_run("small", "progress.json", json.dumps({**run, "when": 5.0, "stage": 0, "epochs_reached": 1}).encode())
    listed = invoke("runs", "--storage", str(tmp_path))[1]
    assert "interrupted" in listed
    assert "1 of 6" in listed
    log = invoke("log", "small", "--storage", str(tmp_path))[1]
    assert "0.5000" in log
    assert "fedcba987654" in log
    assert "no finished run" in invoke("rollback", "small", "--to", "1", "--storage", str(tmp_path))[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("path = []", "at least 1 item"),
        ('path = ""', "at least 1 character"),
        ('path = "in/small.toml"', "files of this kind hold no table"),
        ('path = "in/anvil[z-a].csv"', "invalid glob"),
        ('path = "~nobody-here/a.csv"', "home directory"),
        ('path = "in/anvil.csv", test_path = "in/*.csv"', "path and in test_path"),
        ('path = ["in/anvil.csv", "more/anvil.csv"], series = "{file}"', "have the same name"),
        ('path = "in/anvil.csv", lookback = true', "valid integer"),
        ('path = "in/anvil.csv", lookback = 99999999999999999999999', "less than or equal to"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_before_ray_starts(change: str, words: str, tmp_path: Path) -> None:
    write_small(tmp_path / "in")
    write_small(tmp_path / "more")
    recipe = tmp_path / "own.toml"
    data = 'time = "step", features = ["load", "heat"], targets = ["load"], lookback = 12, horizon = 3'
    recipe.write_text(f'data = {{ {data} }}\ndatasets = [{{ name = "a", {change} }}]\n')
    code, _, err = invoke("train", str(recipe), "--storage", str(tmp_path / "runs"))
    assert code == 2
    assert words in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.ray
def test_a_run_is_listed_logged_rolled_back_and_cleaned(ray_session: None, tmp_path: Path) -> None:
    recipe, storage = str(write_small(tmp_path)), ["--storage", str(tmp_path / "runs")]
    assert "No runs" in invoke("runs", *storage)[1]
    code, out, _ = invoke("prepare", recipe, *storage)
    assert code == 0
    assert "bellows" in out
    code, out, err = invoke("train", recipe, "--workers", "0", *storage)
    assert code == 0
    for word in (
        "[2/3] bellows  epoch 2/2",
        "samples/s",
        "left",
        "Mean scaled error at the end",
        "6 of 6 epochs trained",
        "result.json",
    ):
        assert word in out
    assert "\r" not in out
    assert err == ""
    assert "nothing was trained" in invoke("train", recipe, "--workers", "0", *storage)[1]
    key = json.loads((tmp_path / "runs" / "runs" / "small" / "result.json").read_text())["stages"][-1]["keys"][-1]
    assert "finished" in invoke("runs", *storage)[1]
    log = invoke("log", "small", *storage)[1]
    assert len([line for line in log.splitlines() if line.strip().startswith(("anvil", "bellows", "crane"))]) == 6
    assert key[:12] in log
    assert "0 items" in invoke("clean", *storage)[1]
    code, out, _ = invoke("rollback", "small", "--to", "bellows", *storage)
    assert code == 0
    assert "now points to the checkpoint after bellows" in out
    assert "no such stage" in invoke("rollback", "small", "--to", "crane", *storage)[2]
    assert "3 items" in invoke("clean", "--dry-run", *storage)[1]  # two epochs, and their average
    assert "nothing was trained" in invoke("train", recipe, "--workers", "0", *storage)[1]
    invoke("rollback", "small", "--to", "1", *storage)
    assert "6 items" in invoke("clean", *storage)[1]
    assert "4 of 6 epochs trained" in invoke("train", recipe, "--workers", "0", *storage)[1]
