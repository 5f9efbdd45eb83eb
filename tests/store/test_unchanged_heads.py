"""Without replay, unchanged corrections of the head are written once, and every state is read complete."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import outcome, prepare_sequences, random_sequences, state_at, walk, weights_hash
from safetensors import safe_open

from data.errors import InputError
from data.prepared.encoding import EncodedDataset
from models.settings import ModelSettings
from workflows.recipe.settings import RetentionSettings, TrainingSettings
from workflows.relay import state as relay_state
from workflows.relay import walk as relay_walk
from workflows.relay.plan import Plan, make_plan
from workflows.results.verify import verify
from workflows.store.heads import head_of, heads_in
from workflows.store.kept import RECORD_VERSION, EpochRecord
from workflows.store.store import Store

EPOCHS = 2


def datasets_of(folder: Path, count: int = 4) -> list[EncodedDataset]:
    pairs = {name: random_sequences(number, 44) for number, name in enumerate("abcd"[:count])}
    return prepare_sequences(pairs, folder / "prepared", split=(0.8, 0.2, 0))


def plan_with(datasets: list[EncodedDataset], method: str = "none", **training: Any) -> Plan:
    keys = {"batch_size": 4, "learning_rate": 0.01, **training}
    settings = TrainingSettings.model_validate(keys), RetentionSettings.model_validate({"method": method})
    return make_plan(0, ModelSettings(hidden_size=6), settings[0], datasets, [EPOCHS] * len(datasets), settings[1])


def written_in(folder: Path) -> dict[str, set[str]]:
    """Return the corrections in the files of each checkpoint."""
    heads = {}
    for path in (folder / "checkpoints").glob("*/model.safetensors"):
        with safe_open(path, "pt") as file:
            heads[path.parent.name] = heads_in(file.keys())
    return heads


def all_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write states as earlier versions did, each with all corrections."""
    for module in (relay_state, relay_walk):
        monkeypatch.setattr(module, "unchanged_heads", lambda *_: {})


def test_the_dataset_of_a_correction_is_read_from_its_name() -> None:
    assert head_of("corrections.12.weight") == "12"
    assert head_of("exp_avg_sq.corrections.0.bias") == "0"
    assert [head_of(name) for name in ("head.weight", "added.2.bias", "exp_avg.lstm.weight_ih_l0")] == [None] * 3


@pytest.mark.parametrize("method", ["none", "ewc", "distill"])
def test_a_correction_is_written_in_its_own_stage_alone_and_every_state_is_the_same(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = datasets_of(tmp_path)
    plan = plan_with(datasets, method)
    walk(plan, datasets, tmp_path / "once")
    written = Counter(number for heads in written_in(tmp_path / "once").values() for number in heads)
    # The epochs of the stage and its average; that of the first dataset is made in the first epoch of the second.
    assert written == {"0": 1, "1": EPOCHS + 1, "2": EPOCHS + 1, "3": EPOCHS + 1}
    all_written(monkeypatch)
    walk(plan, datasets, tmp_path / "always")
    assert Counter(map(len, written_in(tmp_path / "always").values())) == {0: 4, 2: 3, 3: 3, 4: 3}
    for stage in outcome(plan, tmp_path / "once").stages:
        for key in (*(epoch.key for epoch in stage.epochs), stage.key):
            state, expected = state_at(key, tmp_path / "once"), state_at(key, tmp_path / "always")
            for tensors, others in ((state.model, expected.model), (state.optimizer, expected.optimizer)):
                assert tensors.keys() == others.keys()
                assert all(torch.equal(value, others[name]) for name, value in tensors.items())


@pytest.mark.parametrize(("method", "training"), [("replay", {}), ("none", {"carry_optimizer": False})])
def test_all_corrections_are_written_if_they_or_their_moments_change(
    method: str, training: dict[str, Any], tmp_path: Path
) -> None:
    datasets = datasets_of(tmp_path, 3)
    walk(plan_with(datasets, method, **training), datasets, tmp_path / "runs")
    assert Counter(map(len, written_in(tmp_path / "runs").values())) == {0: 4, 2: 3, 3: 3}


@pytest.mark.parametrize("earlier_version", [False, True])
def test_a_checkpoint_that_others_refer_to_is_trained_again_where_it_is_lost(
    earlier_version: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lose checkpoints that others refer to; one of an earlier version has all corrections, written again it has fewer."""
    datasets, runs = datasets_of(tmp_path), tmp_path / "runs"
    plan = plan_with(datasets)
    walk(plan, datasets, tmp_path / "whole")
    if earlier_version:
        with monkeypatch.context() as patch:
            all_written(patch)
            walk(plan_with(datasets[:3]), datasets[:3], runs)
    walk(plan, datasets, runs)
    done = outcome(plan, tmp_path / "whole")
    assert weights_hash(done.key, runs) == weights_hash(done.key, tmp_path / "whole")
    expected = state_at(done.key, tmp_path / "whole")
    named = set(Store(str(runs)).record(done.key).heads.values())  # type: ignore[union-attr]
    assert len(named) == (1 if earlier_version else 3)
    for key in named:
        shutil.rmtree(runs / "checkpoints" / key)
        problems = [each.what for each in verify(Store(str(runs))).damaged if key in each.what]
        assert "a head correction is in checkpoint" in problems[0]
    assert walk(plan, datasets, runs).epochs or earlier_version
    state = state_at(done.key, runs)
    assert state.model.keys() == expected.model.keys()
    assert all(torch.equal(value, expected.model[name]) for name, value in state.model.items())
    assert verify(Store(str(runs))).damaged == []


def test_an_earlier_program_refuses_a_record_that_refers_to_others() -> None:
    plain, refers = EpochRecord("k", None), EpochRecord("k", "j", heads={"0": "j"}, version=RECORD_VERSION)
    assert plain.to_json()["version"] == 1
    assert "heads" not in plain.to_json()  # the same bytes as before
    assert EpochRecord.from_json(refers.to_json()) == refers
    with pytest.raises(InputError, match=r"facts\.json has version 3, this program reads up to 2: update lstm-relay"):
        EpochRecord.from_json({**refers.to_json(), "version": 3})
