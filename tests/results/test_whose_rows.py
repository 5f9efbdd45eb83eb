"""Files that hold several datasets are forecast in one go, and rows of no dataset are refused with the ways out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from helpers import train_in_process
from sites import HORIZON, Opened, document, train_sites, write_sites

from data.errors import InputError
from workflows.recipe.recipe import check_recipe
from workflows.results.forecast_file import Predicted, predict_files

COLUMNS = ["dataset", "series", "cutoff", "step", "time", "power", "flow"]


@pytest.fixture(scope="module")
def by_file(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_sites(tmp_path_factory.mktemp("files"))


def train_by_column(folder: Path, **changes: Any) -> Opened:
    """Train on sites a and b in one file with the column `site`."""
    write_sites(folder)
    both = pd.concat([pd.read_csv(folder / f"{site}.csv").assign(site=site) for site in "ab"])
    both.to_csv(folder / "both.csv", index=False)
    recipe = document(**changes) | {"datasets": [{"name": "{site}", "path": "both.csv"}]}
    return *train_in_process(check_recipe(recipe, folder), folder / "runs"), folder


@pytest.fixture(scope="module")
def by_column(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train_by_column(tmp_path_factory.mktemp("column"))


def forecast(opened: Opened, path: str, dataset: str | None = None) -> tuple[pd.DataFrame, Predicted]:
    store, run, folder = opened
    done = predict_files(store, run, dataset, str(folder / path), str(folder / "out.csv"))
    return pd.read_csv(folder / "out.csv", dtype={"dataset": str, "series": str}), done


def one_by_one(opened: Opened, files: dict[str, str]) -> pd.DataFrame:
    alone = [forecast(opened, path, site)[0] for site, path in files.items()]
    whole = pd.concat([frame.assign(dataset=site) for frame, site in zip(alone, files, strict=True)], ignore_index=True)
    return whole[COLUMNS]


def test_one_call_forecasts_each_file_by_the_dataset_of_its_name(by_file: Opened) -> None:
    expected = one_by_one(by_file, {"a": "a.csv", "b": "b.csv"})
    forecasts, done = forecast(by_file, "[ab].csv")
    pd.testing.assert_frame_equal(forecasts, expected)
    assert (done.series, done.windows, done.rows) == (4, 4, 4 * HORIZON)
    folder = by_file[2]
    (folder / "new" / "b").mkdir(parents=True)
    pd.read_csv(folder / "b.csv").to_csv(folder / "new" / "b" / "today.csv", index=False)
    by_folder, _ = forecast(by_file, "new/b")
    pd.testing.assert_frame_equal(by_folder, expected[expected["dataset"] == "b"].reset_index(drop=True))


def test_one_call_forecasts_each_row_by_the_dataset_of_its_column(by_column: Opened) -> None:
    expected = one_by_one(by_column, {"a": "both.csv", "b": "both.csv"})
    forecasts, done = forecast(by_column, "both.csv")
    pd.testing.assert_frame_equal(forecasts, expected)
    assert all(warning.startswith(("dataset 'a': forecasts of", "dataset 'b': forecasts of")) for warning in done.warnings)
    folder = by_column[2]
    both = pd.read_csv(folder / "both.csv")
    few = pd.concat([both[both["site"] == "a"], both[both["site"] == "b"].head(2)])
    few.to_csv(folder / "few.csv", index=False)
    forecasts, done = forecast(by_column, "few.csv")
    assert set(forecasts["dataset"]) == {"a"}
    assert any("dataset 'b': no series has the 3 rows of one window" in warning for warning in done.warnings)


def test_a_new_site_is_refused_with_the_most_alike_dataset_and_forecast_by_its_name(by_column: Opened) -> None:
    folder = by_column[2]
    both = pd.read_csv(folder / "both.csv")
    new = both[both["site"] == "b"].assign(site="west")
    new.to_csv(folder / "west.csv", index=False)
    before = sorted(path.name for path in folder.iterdir())
    (folder / "out.csv").unlink(missing_ok=True)
    with pytest.raises(InputError) as raised:
        forecast(by_column, "west.csv")
    assert f"west.csv: {len(new):,} rows have site = 'west', which is no dataset of run 'sites' (a, b)" in str(raised.value)
    assert "the most similar is 'b' (distance " in str(raised.value)
    assert 'or train with head = "shared" and scaling_scope = "shared"' in str(raised.value)
    assert not (folder / "out.csv").exists()
    assert sorted(path.name for path in folder.iterdir()) == [name for name in before if name != "out.csv"]
    with pytest.raises(InputError, match="run 'sites' has no dataset 'west': write one of a, b; the most similar is 'b'"):
        forecast(by_column, "west.csv", "west")
    expected, _ = forecast(by_column, "both.csv", "b")
    pd.testing.assert_frame_equal(forecast(by_column, "west.csv", "b")[0], expected)
    pd.concat([new, new.assign(site="east")]).to_csv(folder / "two.csv", index=False)
    with pytest.raises(
        InputError, match=r"and 2 other values belong to no dataset \('west', 'east'\): name files with only one"
    ):
        forecast(by_column, "two.csv", "b")
    new.assign(site=None).to_csv(folder / "empty.csv", index=False)
    with pytest.raises(InputError, match=r"empty.csv, line 2: the column 'site', which names datasets, is empty"):
        forecast(by_column, "empty.csv")


def test_a_model_that_treats_all_datasets_alike_forecasts_a_new_site(tmp_path: Path) -> None:
    opened = train_by_column(tmp_path, model={"head": "shared"}, data={"scaling_scope": "shared", "missing": "forward"})
    both = pd.read_csv(tmp_path / "both.csv")
    both[both["site"] == "b"].assign(site="007").to_csv(tmp_path / "west.csv", index=False)
    forecasts, _ = forecast(opened, "west.csv")
    assert set(forecasts["dataset"]) == {"007"}
    expected, _ = forecast(opened, "both.csv", "b")
    np.testing.assert_allclose(forecasts["power"], expected["power"], rtol=1e-6)


def test_parquet_output_reads_alike_in_pandas_polars_and_pyarrow_and_joins_the_observed(by_column: Opened) -> None:
    store, run, folder = by_column
    predict_files(store, run, None, str(folder / "both.csv"), str(folder / "out.parquet"), every=True)
    table, frame = pq.read_table(folder / "out.parquet"), pl.read_parquet(folder / "out.parquet")
    assert frame.columns == table.column_names == COLUMNS
    pd.testing.assert_frame_equal(frame.to_pandas(), pd.read_parquet(folder / "out.parquet"), check_dtype=False)
    observed = pl.read_csv(folder / "both.csv", try_parse_dates=True, null_values="").select(
        pl.col("site").alias("dataset"),
        pl.col("pump").alias("series"),
        pl.col("time").cast(pl.Datetime("us")),
        pl.col("power").alias("truth"),
    )
    joined = frame.with_columns(pl.col("time").cast(pl.Datetime("us"))).join(observed, on=["dataset", "series", "time"])
    assert len(joined.filter(pl.col("truth").is_not_null())) > 0.8 * len(frame)
    steps = frame.select((pl.col("time") - pl.col("cutoff")).dt.total_hours())["time"]
    assert (steps == frame["step"]).all()
