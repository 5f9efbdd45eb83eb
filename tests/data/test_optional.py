"""A dataset without an optional column: the column is missing throughout, with a warning; misspelt names are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from commands import invoke
from helpers import prepare_in_process, train_in_process

from data.errors import InputError
from data.prepared.distances import distances_between
from data.prepared.encoding import EncodedDataset
from data.reading.settings import DatasetSource, DataSettings
from workflows.recipe.recipe import check_recipe
from workflows.results.prediction import make_forecaster
from workflows.training.extend import extend

ROWS = 120
KEYS: dict[str, Any] = {
    "time": "step", "features": ["load", "humidity"], "targets": ["load"], "optional": ["humidity"], "frequency": 1,
    "lookback": 6, "horizon": 2, "missing_flags": True,
}  # fmt: skip


def write(path: Path, seed: int, *columns: str, rows: int = ROWS) -> Path:
    random = np.random.default_rng(seed)
    made = {"step": np.arange(rows), "load": random.normal(5, 2, rows)}
    made |= {name: random.normal(60 + 10 * seed, 5, rows) for name in columns}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(made), path)
    else:
        pacsv.write_csv(pa.table(made), path)
    return path


def datasets_of(folder: Path, *files: Path, **keys: Any) -> list[EncodedDataset]:
    settings = DataSettings.model_validate({**KEYS, **keys})
    return prepare_in_process([DatasetSource(each.stem, (str(each),), settings) for each in files], folder / "prepared")


def inputs_of(dataset: EncodedDataset, split: str = "train") -> Any:
    return dataset.batch(split, np.arange(dataset.num_samples(split))).inputs


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("missing", ["interpolate", "forward", "mean", "zero"])
def test_the_column_is_its_mean_with_the_flag_throughout(suffix: str, missing: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole.{suffix}", 0, "humidity")
    bare = write(tmp_path / f"bare.{suffix}", 1)
    one, other = datasets_of(tmp_path, whole, bare, missing=missing)
    assert one.num_features == other.num_features == 4
    inputs = inputs_of(other)
    assert not inputs[..., 1].any()  # scaled: the mean
    assert (inputs[..., 3] == 1).all()
    assert not inputs[..., 2].any()
    assert not inputs_of(one)[..., 3].any()
    assert other.prepared.manifest.warnings[0] == (
        "optional column 'humidity' is in none of its files and is treated as missing throughout"
    )
    assert not any("optional" in each for each in one.prepared.manifest.warnings)
    # A dataset that has the column is prepared as without the key.
    (plain,) = datasets_of(tmp_path, whole, missing=missing, optional=[])
    assert plain.prepared.manifest.sha256 == one.prepared.manifest.sha256
    assert plain.encoding == one.encoding


@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax", "none"])
@pytest.mark.parametrize("scope", ["dataset", "shared", "primary"])
def test_scaling_of_a_column_without_train_rows_is_finite_and_that_of_datasets_before(
    scaling: str, scope: str, tmp_path: Path
) -> None:
    files = [write(tmp_path / "bare.csv", 1), write(tmp_path / "whole.csv", 0, "humidity"), write(tmp_path / "late.csv", 2)]
    bare, whole, late = datasets_of(tmp_path, *files, scaling=scaling, scaling_scope=scope)
    for each in (bare, whole, late):
        for split in ("train", "validation", "test"):
            assert np.isfinite(inputs_of(each, split)).all()
    assert late.encoding.center[1] == whole.encoding.center[1]
    assert late.encoding.scale[1] == whole.encoding.scale[1]
    assert not inputs_of(bare)[..., 1].any() or scaling == "none"
    # No dataset depends on one that comes after it.
    if scope != "shared":
        (alone,) = datasets_of(tmp_path, files[0], scaling=scaling, scaling_scope=scope)
        assert alone.encoding == bare.encoding
    assert np.isfinite(distances_between([each.prepared for each in (bare, whole, late)])).all()


def test_values_that_appear_after_the_train_rows_are_scaled_by_the_datasets_before(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.csv", 0, "humidity")
    made = write(tmp_path / "late.csv", 1, "humidity")
    lines = made.read_text().splitlines()
    cut = [line if row > 100 else line.rpartition(",")[0] + "," for row, line in enumerate(lines[1:])]
    made.write_text("\n".join([lines[0], *cut]) + "\n")
    one, late = datasets_of(tmp_path, whole, made)
    assert late.prepared.manifest.warnings[0] == (
        "optional column 'humidity' has no value in the train rows and is treated as missing throughout"
    )
    test = inputs_of(late, "test")
    expected = (70 - one.encoding.center[1]) / one.encoding.scale[1]
    assert abs(test[-1, -1, 1] - expected) < 4
    (alone,) = datasets_of(tmp_path, made)
    assert np.abs(inputs_of(alone, "test")[..., 1]).max() < 1e-20  # its scale is unknown


def test_files_of_one_dataset_may_differ(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", 0, "humidity", rows=60)
    late = write(tmp_path / "b.csv", 1, rows=60)
    header, *lines = late.read_text().splitlines()
    later = [f"{60 + number},{line.partition(',')[2]}" for number, line in enumerate(lines)]
    late.write_text("\n".join([header, *later]) + "\n")
    settings = DataSettings.model_validate({**KEYS, "missing": "mean"})
    source = DatasetSource("both", (str(tmp_path / "a.csv"), str(tmp_path / "b.csv")), settings)
    (dataset,) = prepare_in_process([source], tmp_path / "prepared")
    assert dataset.prepared.manifest.missing["humidity"] == 60
    assert f"is not in 1 of 2 files: treated as missing there ({late})" in dataset.prepared.manifest.warnings[0]


def test_a_category_may_be_absent_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole, bare = tmp_path / "whole.csv", write(tmp_path / "bare.csv", 1, "humidity")
    made = {"step": np.arange(ROWS), "load": random.normal(size=ROWS), "humidity": random.normal(size=ROWS)}
    pacsv.write_csv(pa.table({**made, "wind": random.choice(["N", "S"], ROWS)}), whole)
    keys = {"categorical": ["wind"], "optional": ["wind"], "missing_flags": False}
    one, other = datasets_of(tmp_path, whole, bare, **keys)
    assert (inputs_of(one)[..., 2:].sum(axis=-1) == 1).all()
    assert not inputs_of(other)[..., 2:].any()
    assert any("'wind' is in none of its files" in each for each in other.prepared.manifest.warnings)


def test_a_misspelt_name_is_never_taken_for_an_absent_column(tmp_path: Path) -> None:
    whole, odd = write(tmp_path / "whole.csv", 0, "humidity"), write(tmp_path / "odd.csv", 1, "Humidity")
    with pytest.raises(
        InputError, match=r"odd.csv: there is no column 'humidity', which is optional, but 'Humidity': write"
    ):
        datasets_of(tmp_path, whole, odd)
    near = write(tmp_path / "near.csv", 1, "humidty")
    (dataset,) = datasets_of(tmp_path, near)
    assert dataset.prepared.manifest.warnings[0].endswith("; the nearest name is 'humidty'")
    with pytest.raises(InputError, match="there is no column 'load'"):
        datasets_of(tmp_path, whole, features=["load", "humidity"], rename={"load": "other"})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"optional": ["humidty"]}, "optional names 'humidty', which is not in features or categorical: did you mean 'hum"),
        ({"optional": ["load"]}, "optional names 'load', which is a target"),
        ({"missing": "drop"}, 'missing = "drop" would leave out every sample'),
        ({"optional": ["humidity", "humidity"]}, "optional names 'humidity' twice"),
    ],
)
def test_settings_that_contradict_optional_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSettings.model_validate({**KEYS, **keys})


def recipe_of(folder: Path, *names: str) -> Any:
    document = {
        "name": "sites",
        "data": KEYS,
        "datasets": [{"name": name, "path": f"{name}.csv"} for name in names],
        "model": {"hidden_size": 6},
        "training": {"epochs": 1, "batch_size": 16},
        "compute": {"num_workers": 0},
    }
    return check_recipe(document, folder)


def test_a_dataset_without_the_column_is_trained_extended_and_predicted(tmp_path: Path) -> None:
    write(tmp_path / "whole.csv", 0, "humidity")
    write(tmp_path / "bare.csv", 1)
    store, run = train_in_process(recipe_of(tmp_path, "whole"), tmp_path / "runs")
    extended = extend(str(tmp_path / "runs"), "sites", "bare", str(tmp_path / "bare.csv"))
    assert extended.epochs_trained == 1
    assert any("dataset 'bare': optional column 'humidity' is in none of its files" in each for each in extended.warnings)
    assert all(each.error is not None for each in extended.test.values())
    with pytest.raises(InputError, match="optional column 'humidity' has no value in the train rows of any dataset"):
        train_in_process(recipe_of(tmp_path, "bare"), tmp_path / "other")
    assert make_forecaster(store, run, 0).shape == (2, 1)
    where = ["--storage", str(tmp_path / "runs"), "--dataset", "bare", "--output", str(tmp_path / "out.csv")]
    assert invoke("predict", "sites", "--input", str(tmp_path / "bare.csv"), *where) == (0, ANY, "")
    odd = write(tmp_path / "odd.csv", 1, "Humidity")
    code, _, complaint = invoke("predict", "sites", "--input", str(odd), *where)
    assert (code, "but 'Humidity': name it as the training files do" in complaint) == (2, True)
