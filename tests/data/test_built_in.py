"""Built-in data are the same on every machine and are made once."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from data_cases import prepare_one, samples_of

from data.built_in import MAKERS, make_built_in


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_it_is_made_once_and_the_same_each_time(tmp_path: Path, name: str) -> None:
    for folder in ("one", "other"):
        make_built_in(name, tmp_path / folder)
    made = {path.name: path.read_bytes() for path in (tmp_path / "one" / name).iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "other" / name).iterdir()}
    (tmp_path / "one" / name / next(iter(made))).write_text("mine")
    make_built_in(name, tmp_path / "one")
    assert (tmp_path / "one" / name / next(iter(made))).read_text() == "mine"
    assert [path.name for path in (tmp_path / "one").iterdir()] == [name]


def test_an_error_while_it_is_made_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path) -> None:
        (folder / "half.csv").touch()
        raise KeyboardInterrupt

    monkeypatch.setitem(MAKERS, "plants", broken)
    with pytest.raises(KeyboardInterrupt):
        make_built_in("plants", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_plants_have_absent_hours_and_cells_and_conflict(tmp_path: Path) -> None:
    make_built_in("plants", tmp_path)
    settings = {"time": "time", "frequency": "1h", "features": ["power", "wind"], "targets": ["power"]}
    answers = []
    for path in sorted((tmp_path / "plants").glob("*.csv")):
        frame = pd.read_csv(path, index_col="time", parse_dates=True)
        hourly = frame.asfreq("h")
        prepared = prepare_one(path, tmp_path, **settings)
        assert prepared.manifest.rows == len(hourly) > len(frame) + 10
        assert prepared.manifest.missing == hourly[["power", "wind"]].isna().sum().to_dict()
        answers.append(max((hourly["power"].corr(hourly["wind"].shift(hours)) for hours in range(10)), key=abs))
    assert [answer > 0 for answer in answers] == [True, False, True, False]


def test_the_sequences_of_the_tutorial_have_the_means_of_their_inputs_as_targets(tmp_path: Path) -> None:
    make_built_in("tutorial_varied", tmp_path)
    frame = pd.read_csv(tmp_path / "tutorial_varied" / "dataset_2.csv")
    settings = {"time": "step", "series": "sequence", "lookback": "all", "horizon": 0, "split_by": "series"}
    features = [f"x{column}" for column in range(5)]
    prepared = prepare_one(
        tmp_path / "tutorial_varied" / "dataset_2.csv",
        tmp_path,
        features=features,
        targets=["y0", "y1"],
        scaling="none",
        split=[1, 0, 0],
        **settings,
    )
    batch = samples_of(prepared, "train")
    assert sorted(set(batch.lengths)) == list(range(5, 15))
    means = frame.groupby("sequence")[["x0", "x1"]].mean() + 0.1
    assert abs(batch.targets[:, 0] - means.to_numpy()).max() < 1e-5
