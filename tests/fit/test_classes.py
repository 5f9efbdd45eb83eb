"""Classes end to end, on recorded utterances: three datasets of three speakers each, sequences of 7 to 29 steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workflows.recipe.recipe import check_recipe
from workflows.training.run import train

pytestmark = pytest.mark.ray


def write_speakers(source: Path, folder: Path) -> None:
    """Write sktime's text format as CSV files of three speakers each: a row per step, separate files for train and test."""
    for part in ("TRAIN", "TEST"):
        rows: dict[int, list[str]] = {group: [] for group in range(3)}
        lines = (source / f"JapaneseVowels_{part}.ts").read_text().splitlines()
        for number, line in enumerate(lines[lines.index("@data") + 1 :]):
            *channels, speaker = line.split(":")
            steps = zip(*(channel.split(",") for channel in channels), strict=True)
            utterance = [f"u{number:04d},{step},{','.join(values)},speaker {speaker}" for step, values in enumerate(steps)]
            rows[(int(speaker) - 1) // 3] += utterance
        header = ",".join(["utterance", "step", *(f"c{channel}" for channel in range(12)), "speaker"])
        for group, content in rows.items():
            (folder / f"speakers_{group + 1}_{part}.csv").write_text("\n".join([header, *content]) + "\n")


def document(method: str) -> dict[str, Any]:
    return {
        "name": f"vowels_{method}",
        "data": {
            "time": "step",
            "series": "utterance",
            "features": [f"c{channel}" for channel in range(12)],
            "targets": ["speaker"],
            "lookback": "all",
            "horizon": 0,
            "split_by": "series",
            "split": [0.8, 0.2, 0.0],
        },
        "datasets": [
            {"name": f"speakers_{group}", "path": f"speakers_{group}_TRAIN.csv", "test_path": f"speakers_{group}_TEST.csv"}
            for group in (1, 2, 3)
        ],
        "model": {"hidden_size": 32, "loss": "cross_entropy"},
        "training": {"epochs": 15, "batch_size": 8, "learning_rate": 0.005},
        "retention": {"method": method, "memory": 20, "share": 1.0},
    }


def test_speakers_are_learnt_in_turn_and_replay_keeps_the_first_ones(
    ray_session: None, shared_data: Path, tmp_path: Path
) -> None:
    write_speakers(shared_data / "japanese_vowels", tmp_path)
    results = {
        method: train(check_recipe(document(method), tmp_path), tmp_path / "runs", None, 0).to_json()
        for method in ("none", "replay")
    }
    for result in results.values():
        assert result["error"] == "share of wrong classes"
        for number, stage in enumerate(result["stages"]):
            assert stage["validation_error"][-1] < 0.3
            assert result["error_matrix"]["validation"][0][number] >= 0.5
        assert sum(test["samples"] for test in result["test"].values()) == 370
        assert all(test["naive_error"] > 0.4 for test in result["test"].values())
    first = {method: result["error_matrix"]["validation"][-1][0] for method, result in results.items()}
    assert first["none"] > 0.9  # a class that is no longer seen is forgotten completely
    assert first["replay"] < 0.3
    assert results["replay"]["stages"][0]["keys"] == results["none"]["stages"][0]["keys"]
