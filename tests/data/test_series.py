"""Series are separated, joined from several files, and distributed over the splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_cases import encoded, noise, prepare_frame, prepare_one, samples_of, write_csv
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InputError
from data.prepared.prepared import PreparedDataset
from data.samples.splits import split_by_series

SETTINGS = {"time": "t", "series": "key", "features": ["a"], "targets": ["b"], "horizon": 1, "scaling": "none"}


def fleet(sizes: dict[str, int]) -> pd.DataFrame:
    """Return series of these sizes with shuffled rows."""
    keys = np.repeat(list(sizes), list(sizes.values()))
    times = np.concatenate([np.arange(size) for size in sizes.values()])
    return noise(len(keys), "ab").assign(key=keys, t=times).sample(frac=1, random_state=1)


def same(one: PreparedDataset, other: PreparedDataset) -> None:
    for split in ("train", "validation", "test"):
        first, second = samples_of(one, split), samples_of(other, split)
        np.testing.assert_array_equal(first.inputs, second.inputs)
        np.testing.assert_array_equal(first.lengths, second.lengths)
        np.testing.assert_array_equal(first.targets, second.targets)
    assert one.manifest.num_series == other.manifest.num_series


def test_each_series_is_cut_in_time_by_itself(tmp_path: Path) -> None:
    frame = fleet({"k2": 20, "k1": 30, "k10": 10})
    prepared = prepare_frame(frame, tmp_path, **SETTINGS)
    expected: dict[str, list[float]] = {"train": [], "validation": [], "test": []}
    for _, rows in frame.sort_values("t").groupby("key"):
        values, size = rows["b"].to_numpy(), len(rows)
        cuts = [0, round(size * 0.6), round(size * 0.8), size]
        for split, first, stop in zip(expected, cuts, cuts[1:], strict=False):
            expected[split] += list(values[max(first, 3) : stop])
    for split, labels in expected.items():
        np.testing.assert_array_equal(samples_of(prepared, split).targets[:, 0, 0], labels)


def test_a_series_in_several_files_equals_that_of_one_file(tmp_path: Path) -> None:
    frame = fleet({"k1": 40, "k2": 30, "k3": 50})
    files = [write_csv(frame[first::3], tmp_path / f"{first}.csv") for first in range(3)]
    prepared = prepare_one(files, tmp_path, **SETTINGS)
    same(prepared, prepare_frame(frame, tmp_path / "whole", **SETTINGS))
    assert sorted(path.name for path in prepared.folder.glob("*.arrow")) == ["samples-00000.arrow", "values-00000.arrow"]


def test_a_series_of_pieces_that_are_too_short_is_joined(tmp_path: Path) -> None:
    frame = fleet({"k1": 40})
    files = [write_csv(frame[first : first + 2], tmp_path / f"{first:02}.csv") for first in range(0, 40, 2)]
    same(prepare_one(files, tmp_path, **SETTINGS), prepare_frame(frame, tmp_path / "whole", **SETTINGS))


def test_files_of_whole_series_give_what_one_file_gives(tmp_path: Path) -> None:
    frame = fleet({"k1": 40, "k2": 30, "k3": 50})
    files = [write_csv(rows, tmp_path / f"{key}.csv") for key, rows in frame.groupby("key")]
    prepared = prepare_one(files, tmp_path, **SETTINGS)
    whole = prepare_frame(frame, tmp_path / "whole", **SETTINGS)
    assert len(prepared.parts) == 3
    same(prepared, whole)
    for name in ("rows", "samples", "missing", "columns"):
        assert getattr(prepared.manifest, name) == getattr(whole.manifest, name)
    for name in ("count", "mean", "deviation", "low", "high"):
        np.testing.assert_allclose(getattr(prepared.statistics, name), getattr(whole.statistics, name), rtol=1e-12)


def test_each_file_is_a_series_with_file_as_the_series(tmp_path: Path) -> None:
    frame = fleet({"k1": 40, "k2": 30})
    folder = tmp_path / "f"
    files = [write_csv(rows.drop(columns="key"), folder / f"{key}.csv") for key, rows in frame.groupby("key")]
    expected = prepare_frame(frame, tmp_path, **SETTINGS)
    same(prepare_one(files, tmp_path, **{**SETTINGS, "series": "{file}"}), expected)
    by_series = {**SETTINGS, "split_by": "series", "split": [0.5, 0.5, 0]}
    dealt = prepare_one(files, tmp_path, **{**by_series, "series": "{file}"})
    assert len(dealt.parts) == 1
    same(dealt, prepare_frame(frame, tmp_path, **by_series))


def test_two_files_of_one_name_are_one_series(tmp_path: Path) -> None:
    frame = fleet({"k1": 40})
    files = [write_csv(frame[first::2].drop(columns="key"), tmp_path / str(first) / "k1.csv") for first in (0, 1)]
    same(prepare_one(files, tmp_path, **{**SETTINGS, "series": "{file}"}), prepare_frame(frame, tmp_path, **SETTINGS))


def test_a_split_by_series_distributes_whole_series(tmp_path: Path) -> None:
    frame = fleet({f"k{number}": 10 for number in range(20)})
    frame["b"] = frame["key"].str[1:].astype(float)
    settings = {**SETTINGS, "split_by": "series", "split": [0.7, 0.1, 0.2]}
    prepared = prepare_frame(frame, tmp_path, **settings)
    series_in = {split: set(samples_of(prepared, split).targets[:, 0, 0]) for split in ("train", "validation", "test")}
    assert [len(names) for names in series_in.values()] == [14, 2, 4]
    assert len(set.union(*series_in.values())) == 20
    assert prepared.manifest.samples == {"train": 14 * 7, "validation": 2 * 7, "test": 4 * 7}
    np.testing.assert_array_equal(prepared.statistics.count, [140, 140])


@given(st.lists(st.text(max_size=8), unique=True, max_size=15), st.tuples(st.floats(0.1, 0.8), st.floats(0, 0.2)))
def test_the_split_of_a_series_does_not_depend_on_the_order_of_the_names(
    names: list[str], share: tuple[float, float]
) -> None:
    fractions = [*share, 1 - sum(share)]
    dealt = split_by_series(names, fractions)
    assert dealt == split_by_series(names[::-1], fractions)
    counts = [list(dealt.values()).count(part) for part in ("train", "validation", "test")]
    for count, fraction in zip(counts, fractions, strict=True):
        assert abs(count - fraction * len(names)) <= 1


@pytest.mark.parametrize("series", [None, "key"])
def test_test_files_are_the_test_part_as_a_whole(tmp_path: Path, series: str | None) -> None:
    frame = fleet({"k1": 40}).sort_values("t")
    other = fleet({"k1": 25}).sort_values("t").assign(b=lambda rows: rows["b"] + 100)
    extra = write_csv(other, tmp_path / "test.csv")
    settings = {**SETTINGS, "series": series, "split": [0.8, 0.2, 0], "scaling": "standard"}
    prepared = prepare_frame(frame, tmp_path, **settings, test_files=[extra])
    plain = prepare_frame(frame, tmp_path, **settings)
    assert encoded(prepared)[0].encoding == encoded(plain)[0].encoding
    center, scale = encoded(plain)[0].encoding.center[1], encoded(plain)[0].encoding.scale[1]
    batch = samples_of(prepared, "test")
    np.testing.assert_allclose(batch.targets[:, 0, 0], (other["b"][3:] - center) / scale, rtol=1e-5)
    assert prepared.manifest.samples["validation"] == plain.manifest.samples["validation"] == 8


def test_short_series_give_no_sample_and_a_warning(tmp_path: Path) -> None:
    frame = fleet({"k1": 30, "k2": 3, "k3": 1})
    prepared = prepare_frame(frame, tmp_path, **SETTINGS)
    assert (
        "2 of 3 series are shorter than one sample (min_lookback 3 + horizon 1 = 4 rows)" in prepared.manifest.warnings[-1]
    )
    files = [write_csv(rows, tmp_path / f"{key}.csv") for key, rows in frame.groupby("key")]
    same(prepare_one(files, tmp_path, **SETTINGS), prepared)
    short = frame[frame["key"] != "k1"]
    with pytest.raises(InputError, match=r"dataset 'd': no series is as long as one sample .* the longest, 'k2', has 3"):
        prepare_frame(short, tmp_path / "short", **SETTINGS)
