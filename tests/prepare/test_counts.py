"""`prepare`, the manifest and the page have the same counts of rows and windows as pandas."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w
from commands import invoke
from rich.console import Console
from sites import document, train_sites

from workflows.report.report import make_report
from workflows.results.tables import prepared_tables
from workflows.results.trained import open_run

LOOKBACK = 5


def gappy(folder: Path) -> pd.DataFrame:
    """Write an hourly series with missing rows and targets, and one that is too short for a window."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"t": pd.date_range("2024-01-01", periods=300, freq="h"), "k": "long"})
    frame["a"], frame["b"] = random.normal(size=300), random.normal(size=300)
    frame.loc[random.random(300) < 0.2, "b"] = None
    frame.loc[random.random(300) < 0.02, "a"] = None
    frame = frame[(random.random(300) > 0.15) | frame.index.isin([0, 299])]
    short = pd.DataFrame({"t": frame["t"][:3], "k": "short", "a": 1.0, "b": 2.0})
    pd.concat([frame, short]).to_csv(folder / "gappy.csv", index=False)
    return frame


@pytest.mark.parametrize("missing", ["interpolate", "drop"])
def test_prepare_counts_as_pandas_does(tmp_path: Path, missing: str) -> None:
    frame = gappy(tmp_path)
    data = {"time": "t", "series": "k", "features": ["a"], "targets": ["b"], "frequency": "1h", "missing": missing}
    recipe = {"name": "g", "data": {**data, "lookback": LOOKBACK, "horizon": 1}, "compute": {"num_workers": 0}}
    recipe["datasets"] = [{"name": "gappy", "path": "gappy.csv"}]
    (tmp_path / "g.toml").write_text(tomli_w.dumps(recipe))
    code, out, err = invoke("prepare", str(tmp_path / "g.toml"), "--storage", str(tmp_path / "runs"))
    assert (code, err) == (0, "")
    (path,) = (tmp_path / "runs" / "prepared").glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    grid = frame.set_index("t").asfreq("h")
    no_input, no_target = grid["a"].isna().to_numpy(), grid["b"].isna().to_numpy()
    cuts = [0, 210, 240, 300]
    kept = {}
    reasons = {"missing target": 0, "missing input": 0, "short series": 1}
    for split, first, stop in zip(("train", "validation", "test"), cuts, cuts[1:], strict=False):
        ends = range(max(first - 1, LOOKBACK - 1), stop - 1)
        seen = [end for end in ends if not no_target[end + 1]]
        whole = [end for end in seen if missing != "drop" or not no_input[end - LOOKBACK + 1 : end + 1].any()]
        reasons["missing target"] += len(ends) - len(seen)
        reasons["missing input"] += len(seen) - len(whole)
        kept[split] = len(whole)
    counts = manifest["counts"]
    assert manifest["samples"] == kept
    assert counts["windows_left_out"] == {reason: count for reason, count in reasons.items() if count}
    assert (counts["rows_read"], counts["rows_used"]) == (len(frame) + 3, len(frame) + 3)
    assert counts["rows_inserted"] == 300 - len(frame)
    filled = 0 if missing == "drop" else int(grid["a"].isna().sum())
    assert (counts["cells_filled"], counts["cells_used"]) == (filled, 303)
    text = re.sub(r"\s+", " ", out)
    assert f"gappy {len(frame) + 3} {len(frame) + 3} {300 - len(frame)} {filled} 2" in text
    assert f"gappy {kept['train']} {kept['validation']} {kept['test']}" in text
    for reason, count in reasons.items():
        assert (f"{count} {reason}" in text) == (count > 0)
    lost = sum(reasons.values()) - 1
    assert f"{300 - len(frame)} of 303 rows were inserted by frequency = '1h'" in text
    assert f"{lost} of {lost + sum(kept.values())} windows were left out" in text


def test_the_page_and_the_tables_have_the_counts_of_the_manifest(tmp_path: Path) -> None:
    assert document()["data"]["frequency"] == "1h"
    store, run, _ = train_sites(tmp_path)
    page = make_report(store, "sites")
    opened = open_run(store, "sites")
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in prepared_tables(opened.datasets):
        console.print(table)
    text = re.sub(r"\s+", " ", console.export_text())
    cells = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for dataset in run.datasets:
        counts, facts = dataset.prepared.manifest.counts, dataset.prepared.manifest
        assert counts is not None
        assert counts.rows_inserted > 0
        rows = f"{dataset.name} {counts.rows_read:,} {counts.rows_used:,} {counts.rows_inserted:,}"
        windows = f"{dataset.name} {facts.samples['train']:,} {facts.samples['validation']:,} {facts.samples['test']:,}"
        for words in (f"{rows} {counts.cells_filled:,}", windows):
            assert words in text
        for words in (f"{rows} {counts.rows_duplicate:,} {counts.cells_filled:,}", windows):
            assert words in cells
        for reason, count in counts.windows_left_out.items():
            assert (f"{count:,} {reason}" in cells) or not count
