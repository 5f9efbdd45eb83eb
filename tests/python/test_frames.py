"""Frames of pandas, polars and Arrow give the same model as files with the same rows, and forecasts of the same type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sites import HORIZON, document, write_sites

from data.errors import InputError
from workflows import load, train
from workflows.results.forecast_file import predict_files
from workflows.store.store import Store

Make = Callable[[pd.DataFrame], Any]
MAKERS: dict[str, Make] = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
}
KEYS: dict[str, Any] = {**document()["data"], "epochs": 1, "batch_size": 32, "learning_rate": 0.01, "hidden_size": 6}
SHORT: dict[str, Any] = {"lookback": 6, "horizon": 2, "epochs": 1, "hidden_size": 3}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    write_sites(folder)
    return folder


def frames_of(folder: Path) -> dict[str, pd.DataFrame]:
    return {site: pd.read_csv(folder / f"{site}.csv", parse_dates=["time"]) for site in "ab"}


def long_frame(rows: int = 120) -> pd.DataFrame:
    """Return two sites with two series each, with the usual columns of forecasting libraries."""
    frames = []
    for number in range(4):
        wave = np.sin(np.arange(rows) / 5 + number) + 3 * (number // 2)
        times = pd.date_range("2024-01-01", periods=rows, freq="h")
        frames.append(pd.DataFrame({"site": "ns"[number // 2], "unique_id": number, "ds": times, "y": wave}))
    return pd.concat(frames, ignore_index=True)


@pytest.mark.filterwarnings("ignore:dataset '[ab]'", "ignore:forecasts of")
def test_frames_of_any_library_train_what_the_files_do_with_gaps_categories_and_calendar(sites: Path) -> None:
    recipe = document() | {"datasets": [{"name": site, "path": str(sites / f"{site}.csv")} for site in "ab"]}
    expected = train(recipe, storage=sites / "files", workers=0)
    frames = frames_of(sites)
    for library, make in MAKERS.items():
        result = train({site: make(frame) for site, frame in frames.items()}, storage=sites / "frames", name=library, **KEYS)
        assert result.train_loss == expected.train_loss
        assert result.document["epochs_trained"] == (2 if library == "pandas" else 0)  # known by content
        forecasts = result.predict({site: make(frame) for site, frame in frames.items()})
        assert type(forecasts) is type(make(frames["a"]))
        table = forecasts if library == "pandas" else forecasts.to_pandas()
        predict_files(Store(expected.storage), expected.run, None, str(sites / "[ab].csv"), str(sites / "out.parquet"))
        written = pd.read_parquet(sites / "out.parquet")
        pd.testing.assert_frame_equal(table, written, check_dtype=False)
        assert len(table) == 4 * HORIZON
    assert len(list((sites / "frames" / "prepared").iterdir())) == 3  # two datasets, and what is known of sources or leases


@pytest.mark.parametrize("library", MAKERS)
def test_one_long_frame_is_understood_by_its_names_and_its_forecasts_join_it(library: str, tmp_path: Path) -> None:
    make, frame = MAKERS[library], long_frame()
    result = train(make(frame), dataset="site", storage=tmp_path, **SHORT)
    assert [source.where for source in result.run.sources] == [{"site": "n"}, {"site": "s"}]
    settings = result.run.sources[0].settings
    assert (settings.time, settings.series, settings.targets, settings.features) == (["ds"], "unique_id", ["y"], ["y"])
    forecasts = result.predict(make(frame), every=True)
    columns = ["dataset", "series", "cutoff", "step", "time", "y"]
    names = {"dataset": "site", "series": "unique_id", "time": "ds"}
    if library == "pandas":
        assert list(forecasts.columns) == columns
        joined = forecasts.rename(columns=names).merge(frame, on=list(names.values()), suffixes=("", "_true"))
    elif library == "polars":
        assert forecasts.columns == columns
        joined = forecasts.rename(names).join(make(frame), on=list(names.values()), suffix="_true").to_pandas()
    else:
        assert forecasts.column_names == columns
        renamed = forecasts.rename_columns([names.get(name, name) for name in columns])
        joined = renamed.join(make(frame), [*names.values()], join_type="inner", right_suffix="_true").to_pandas()
    windows = 4 * (120 - 6 + 1)
    assert len(joined) == windows * 2 - 4 * 3  # the steps after the last row have no observed value
    assert (joined["ds"] == joined["cutoff"] + pd.to_timedelta(joined["step"], unit="h")).all()
    assert np.abs(joined["y"] - joined["y_true"]).mean() < 2


def test_an_index_of_times_other_names_and_a_validation_split(tmp_path: Path) -> None:
    frame = long_frame().query("unique_id == 0").set_index("ds")[["y"]].rename(columns={"y": "power"})
    frame["label"] = "unused"
    with pytest.warns(UserWarning, match="unused columns: label"):
        result = train(frame, storage=tmp_path, targets=["power"], validation_split=0.25, frequency="1h", **SHORT)
    settings = result.run.sources[0].settings
    assert (settings.time, settings.split, settings.features) == (["ds"], [0.75, 0.25, 0.0], ["power"])
    forecasts = result.predict(frame)
    assert list(forecasts["time"]) == list(pd.date_range(frame.index[-1], periods=3, freq="h")[1:])
    assert result.history["dataset_1"]["loss"] == result.train_loss["dataset_1"]
    assert len(result.history["dataset_1"]["val_loss"]) == 1


def test_classes_come_back_in_the_type_of_the_frame_with_their_probabilities(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=80), "kind": random.integers(0, 3, 80) * 10})
    keys = {"targets": ["kind"], "lookback": 4, "horizon": 0, "loss": "cross_entropy", "epochs": 1, "hidden_size": 3}
    result = train({"one": frame}, storage=tmp_path, **keys)
    assert result.classes == [0, 10, 20]
    forecasts = result.predict_proba(pl.from_pandas(frame.drop(columns="kind")))
    assert forecasts.columns == ["series", "cutoff", "step", "time", "kind", "kind_p_0", "kind_p_10", "kind_p_20"]
    chances = forecasts.select("kind_p_0", "kind_p_10", "kind_p_20").to_numpy()
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    assert forecasts["kind"].to_list() == [result.classes[index] for index in chances.argmax(axis=1)]
    np.testing.assert_allclose(result.predict_proba(frame["x"].to_numpy()[None, -4:, None]), chances, rtol=1e-5)


def test_a_frame_extends_a_run_which_is_saved_loaded_and_drawn(tmp_path: Path) -> None:
    frame = long_frame()
    first = train(frame[frame["site"] == "n"], dataset="site", storage=tmp_path / "runs", frequency="1h", **SHORT)
    both = first.extend(frame[frame["site"] == "s"], "s", epochs=2)
    assert (both.document["epochs_trained"], both.run.sources[1].where) == (2, {"site": "s"})
    both.save(tmp_path / "kept")
    loaded = load("relay", tmp_path / "kept")
    pd.testing.assert_frame_equal(loaded.predict(frame), both.predict(frame))
    assert loaded.evaluate() == both.evaluate() | {"measured_now": loaded.evaluate()["measured_now"]}
    third = loaded.extend(frame[frame["site"] == "s"].assign(site="t", y=lambda rows: rows["y"] + 1), "t")
    assert third.document["epochs_trained"] == 1  # what came before is in the copy
    with pytest.raises(InputError, match="was trained again since"):
        first.save(tmp_path / "other")
    with pytest.raises(InputError, match="has another run 'relay'"):
        both.save(tmp_path / "kept")
    assert repr(both).startswith("Result('relay': 2 datasets, key ")
    assert "\n" not in repr(both)
    curves, errors = both.plot().axes
    assert [line.get_ydata().tolist() for line in curves.lines[::3]] == list(both.train_loss.values())
    assert len(errors.lines) == 1 + 2


@pytest.mark.parametrize(
    ("data", "keys", "message"),
    [
        ({}, {"lr": 1}, "the key 'lr' is unknown: write learning_rate"),
        ({}, {"units": 3}, "write hidden_size"),
        ({}, {"freq": "h"}, "write frequency"),
        ({}, {"h": 3}, "write horizon"),
        ({"y": None}, {}, 'no column is called "y": name the columns to forecast'),
        ({}, {"lookback": None}, "train: data.lookback = None"),
        ({}, {"dataset": "where"}, "dataset = 'where': the frame has no such column (site, unique_id, ds, y)"),
        ({}, {"validation": [1]}, "frames are split by time: write split="),
        ({}, {"validation_split": 2}, "validation_split = 2: write a share above 0"),
        ({"y": ["much"] * 480}, {}, "frame 'n', row 1, column 'y': 'much' is not a number"),
        ({"site": [None] * 480}, {}, "the frame, row 1: the column 'site', which names datasets, is empty"),
        ({"y": [1, "two"] * 240}, {}, "the frame, column 'y': values of several types"),
        ({"ds": ["noon"] * 480}, {}, "frame 'n', row 1, column 'ds': 'noon' is not a time"),
    ],
)
def test_an_error_in_a_frame_names_its_row_and_column_and_nothing_is_written(
    data: dict[str, Any], keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    frame = long_frame().assign(**{name: values for name, values in data.items() if values is not None})
    frame = frame.drop(columns=[name for name, values in data.items() if values is None])
    with pytest.raises(ValueError) as raised:  # noqa: PT011  # InputError is one
        train(frame, storage=tmp_path / "runs", **{"dataset": "site", **SHORT, **keys})
    assert message in str(raised.value)
    assert ".arrow" not in str(raised.value)
    assert not (tmp_path / "runs").exists()


def test_a_new_site_is_refused_with_the_argument_to_write(tmp_path: Path) -> None:
    frame = long_frame()
    result = train(frame, dataset="site", storage=tmp_path, frequency="1h", **SHORT)
    new = frame[frame["site"] == "s"].assign(site="west")
    with pytest.raises(InputError) as raised:
        result.predict(new)
    assert str(raised.value).startswith(
        "the frame: 240 rows have site = 'west', which is no dataset of run 'relay' (n, s): "
    )
    assert "the most similar is " in str(raised.value)
    expected = result.predict(frame, "s")
    pd.testing.assert_frame_equal(result.predict(new, "s"), expected)
    with pytest.raises(InputError, match="the frame: neither a column nor its name says which dataset"):
        result.predict(frame.drop(columns="site"))


def test_arrays_hold_out_their_last_samples_as_keras_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(21, 4, 2)), random.normal(size=(21, 1))
    keys: dict[str, Any] = {"storage": tmp_path, "epochs": 1, "hidden_size": 2}
    split = train([(inputs, targets)], validation_split=0.2, **keys)
    border = int(21 * (1 - 0.2))
    pair = (inputs[:border], targets[:border])
    explicit = train({"dataset_1": pair}, validation={"dataset_1": (inputs[border:], targets[border:])}, **keys)
    assert (split.key, split.history) == (explicit.key, explicit.history)
    with pytest.raises(InputError, match="both set the validation part: write one"):
        train([pair], validation=[pair], validation_split=0.2, **keys)
