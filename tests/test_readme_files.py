"""The three files of "Files as people have them" in docs/your-data.md are read by their recipes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import prepare_all

from data.prepared.prepared import PreparedDataset
from data.reading.files import FileNotes
from workflows.recipe.datasets import find_datasets
from workflows.recipe.recipe import check_recipe

GUIDE = (Path(__file__).parent.parent / "docs" / "your-data.md").read_text()
SECTION = GUIDE[GUIDE.index("## Files as people have them") :].split("\n## ")[0]
AIR, MONTHS, DAYS = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
RANDOM = np.random.default_rng(0)


def prepared(text: str, folder: Path) -> dict[str, PreparedDataset]:
    recipe = check_recipe(tomllib.loads(text), folder)
    sources, _ = find_datasets(recipe, FileNotes(folder / "facts"), folder)
    return {each.name: each for each in prepare_all(sources, folder / "out")}


def test_semicolons_and_a_decimal_comma(tmp_path: Path) -> None:
    times = pd.date_range("2004-10-20 18:00", periods=600, freq="h", tz="Europe/Rome")  # over the end of summer time
    frame = pd.DataFrame({"Date": times.strftime("%d/%m/%Y"), "Time": times.strftime("%H.%M.%S")})
    for name in ("CO(GT)", "T", "RH"):
        frame[name] = RANDOM.normal(20, 5, 600).round(1)
    gone = RANDOM.random(600) < 0.1
    frame.loc[gone, "CO(GT)"] = -200
    frame["Unnamed"] = None
    frame.to_csv(tmp_path / "AirQualityUCI.csv", sep=";", decimal=",", index=False)
    manifest = prepared(AIR, tmp_path)["air"].manifest
    assert manifest.counts is not None
    assert (manifest.counts.rows_read, manifest.counts.rows_inserted, manifest.rows) == (600, 0, 600)
    assert manifest.missing == {"CO(GT)": int(gone.sum()), "T": 0, "RH": 0}
    train = frame["CO(GT)"][:420].where(~gone[:420]).astype(np.float32)
    assert manifest.statistics.mean[0] == pytest.approx(train.mean(), rel=1e-6)


def test_months_with_lines_before_the_header(tmp_path: Path) -> None:
    months = pd.period_range("2008-01", periods=150, freq="M").astype(str)
    (tmp_path / "monthly").mkdir()
    for name in ("food", "tools"):
        frame = pd.concat([pd.DataFrame({"month": months, "region": region, "sales": range(150)}) for region in ("N", "NA")])
        text = frame[frame["month"] != "2010-05"].to_csv(index=False)
        (tmp_path / "monthly" / f"{name}.csv").write_text("Table 7\nSource: the office\n\n" + text)
    datasets = prepared(MONTHS, tmp_path)
    assert list(datasets) == ["food", "tools"]
    for dataset in datasets.values():
        counts = dataset.manifest.counts
        assert counts is not None
        assert (dataset.manifest.num_series, counts.rows_read, counts.rows_inserted, counts.cells_filled) == (2, 298, 2, 2)
        # May 2010 is filled with the values between those of April and June.
        np.testing.assert_array_equal(dataset.parts[0].values[:150, 0], np.arange(150))


def test_one_file_for_each_day_with_all_sensors(tmp_path: Path) -> None:
    for site in ("north", "south"):
        folder = tmp_path / "logs" / f"site={site}"
        folder.mkdir(parents=True)
        for day in range(5):
            start = 1_767_225_600 + 86_400 * day
            frames = []
            for sensor in range(3):
                exact = start + 600 * np.arange(145)  # midnight is in both files
                times = exact + RANDOM.integers(-5, 6, 145) * (np.arange(145) % 144 > 0)
                values = pd.Series(1000.0 * sensor + 144 * day + np.arange(145)).astype(object)
                values[RANDOM.random(145) < 0.05] = "offline"
                frames.append(pd.DataFrame({"ts": times, "sensor": f"s{sensor}", "value": values}))
            pd.concat(frames).sort_values("ts").to_csv(folder / f"2026-01-{day + 1:02d}.csv", index=False)
    datasets = prepared(DAYS, tmp_path)
    assert list(datasets) == ["north", "south"]
    for dataset in datasets.values():
        manifest = dataset.manifest
        counts = manifest.counts
        assert counts is not None
        assert (manifest.num_series, manifest.rows) == (3, 3 * (5 * 144 + 1))
        assert (counts.rows_read, counts.rows_duplicate, counts.rows_inserted) == (3 * 5 * 145, 3 * 4, 0)
        steps = np.diff(np.concatenate([part.values for part in dataset.parts])[: 5 * 144 + 1, 0])
        assert np.median(steps) == 1
