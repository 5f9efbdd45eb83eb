"""The distance of datasets against SciPy and plain loops; order, scaling and later rows do not change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from data_cases import noise, prepare_all, source_of, write_csv
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from scipy.stats import energy_distance

import data.prepared.distances
from data.prepared.distances import KEPT, NUM_FRAMES, Sample, distances_between, draw_windows, energy_coefficients, frames
from data.prepared.prepared import PreparedDataset


def points(seed: int, count: int, width: int = 5, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, width)) + shift).astype(np.float32)


def coefficient(one: np.ndarray, other: np.ndarray) -> float:
    return energy_coefficients(Sample.of(one), [Sample.of(other)])[0]


@given(st.integers(2, 20), st.integers(2, 20), st.integers(1, 6), st.floats(-3, 3))
def test_the_coefficient_is_that_of_scipys_distances(first: int, second: int, width: int, shift: float) -> None:
    one, other = points(first, first, width), points(100 + second, second, width, shift)
    between, within = cdist(one, other).mean(), pdist(one).mean() + pdist(other).mean()
    assert coefficient(one, other) == pytest.approx(1 - within / (2 * between), abs=1e-5)


def test_in_one_dimension_it_is_scipys_energy_distance() -> None:
    one, other = points(0, 60, 1), points(1, 40, 1, 0.7)
    # SciPy counts each point's distance to itself, and gives the root.
    within = [(1 - 1 / len(each)) * pdist(each).mean() for each in (one, other)]
    between = (energy_distance(one[:, 0], other[:, 0]) ** 2 + sum(within)) / 2
    assert coefficient(one, other) == pytest.approx(1 - (pdist(one).mean() + pdist(other).mean()) / (2 * between), abs=1e-5)


@given(st.integers(0, 1000), st.integers(1, 30))
def test_it_is_symmetric_and_at_most_one(seed: int, count: int) -> None:
    one, other = points(seed, count), points(seed + 1, 17, shift=1.0)
    assert coefficient(one, other) == pytest.approx(coefficient(other, one), abs=1e-5)
    assert coefficient(one, other) <= 1


def test_it_is_near_zero_for_one_distribution_and_grows_with_the_shift() -> None:
    coefficients = [coefficient(points(0, 512), points(1, 512, shift=shift)) for shift in (0.0, 0.2, 0.5, 1.0, 5.0)]
    assert abs(coefficients[0]) < 0.004
    assert coefficients == sorted(coefficients)
    assert coefficients[-1] > 0.5
    assert energy_coefficients(Sample.of(points(0, 9)), [Sample.of(points(k, 9 + k)) for k in range(40)]) == pytest.approx(
        [coefficient(points(0, 9), points(k, 9 + k)) for k in range(40)], abs=1e-6
    )


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 99))
def test_frames_are_the_means_of_equal_stretches(lengths: list[int], seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(len(lengths), 40, 3)).astype(np.float32)
    courses = frames(values, np.array(lengths)).reshape(len(lengths), NUM_FRAMES, 3)
    for row, length, course in zip(values, lengths, courses, strict=True):
        stretched = np.repeat(row[:length].astype(float), NUM_FRAMES, axis=0)
        assert course == pytest.approx(stretched.reshape(NUM_FRAMES, length, 3).mean(axis=1), abs=1e-6)


@given(st.integers(1, 5000))
def test_windows_are_drawn_from_everywhere_once_each(count: int) -> None:
    drawn = draw_windows(count)
    assert len(set(drawn.tolist())) == len(drawn) == min(count, data.prepared.distances.NUM_WINDOWS)
    assert 0 <= drawn.min() <= drawn.max() < count
    assert np.diff(np.concatenate([[0], drawn, [count]])).max() <= 2 * count / len(drawn) + 1


def swing(period: float, seed: int = 0, rows: int = 1500, factor: float = 1.0, offset: float = 0.0) -> pd.DataFrame:
    wave = np.sin(2 * np.pi * np.arange(rows) / period) + np.random.default_rng(seed).normal(0, 0.3, rows)
    return pd.DataFrame({"a": (wave * factor + offset).astype(np.float32)})


def prepared(folder: Path, frames: dict[str, pd.DataFrame], **changes: Any) -> list[PreparedDataset]:
    settings = {"lookback": 24, "horizon": 4, **changes}
    return prepare_all(
        [source_of(write_csv(frame, folder / f"{name}.csv"), name=name, **settings) for name, frame in frames.items()],
        folder,
    )


def test_similar_datasets_are_near_and_others_far_at_any_scale(tmp_path: Path) -> None:
    distances = distances_between(
        prepared(tmp_path, {"x": swing(12), "y": swing(12, 1, factor=1000.0, offset=-7e3), "z": swing(40, 2)})
    )
    assert abs(distances[0, 1]) < 0.002
    assert distances[0, 2] > 0.01
    assert distances[1, 2] == pytest.approx(distances[0, 2], abs=0.005)
    assert np.array_equal(distances, distances.T)
    assert not distances.diagonal().any()


def test_neither_the_order_nor_the_others_nor_the_scaling_changes_a_distance(tmp_path: Path) -> None:
    frames = {name: swing(period) for name, period in zip("wxyz", (10, 12, 20, 40), strict=True)}
    whole = distances_between(prepared(tmp_path / "a", frames))
    turned = distances_between(prepared(tmp_path / "b", dict(reversed(frames.items())), scaling="minmax"))
    few = distances_between(prepared(tmp_path / "c", {name: frames[name] for name in "zw"}, scaling_scope="primary"))
    assert np.array_equal(turned[::-1, ::-1], whole)
    assert few[0, 1] == whole[0, 3]


def test_rows_after_the_train_part_change_no_distance(tmp_path: Path) -> None:
    frames = {"x": swing(12), "y": swing(40)}
    plain = distances_between(prepared(tmp_path / "plain", frames))
    late = {name: frame.copy() for name, frame in frames.items()}
    late["x"].loc[900:, "a"] = 1e4
    other = prepared(tmp_path / "other", late)
    assert np.array_equal(distances_between(other), plain)
    late["x"].loc[899, "a"] = 1e4
    assert not np.array_equal(distances_between(prepared(tmp_path / "train", late)), plain)


def test_distances_are_stored_and_computed_again_if_the_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = prepared(tmp_path, {"x": swing(12), "y": swing(40), "z": swing(20)})
    distances = distances_between(datasets)
    kept = [each.folder / KEPT for each in datasets if (each.folder / KEPT).exists()]
    with monkeypatch.context() as patch:
        patch.setattr(data.prepared.distances, "window_courses", lambda datasets: pytest.fail("they are known"))
        assert np.array_equal(distances_between(datasets), distances)
    for path in kept:
        path.write_text("{")
    assert np.array_equal(distances_between(datasets), distances)


def test_sequences_of_different_lengths_classes_categories_and_one_sample_compare(tmp_path: Path) -> None:
    def recordings(seed: int, count: int, rise: float) -> pd.DataFrame:
        random = np.random.default_rng(seed)
        parts = []
        for number in range(count):
            rows = int(random.integers(3, 30))
            course = rise * np.linspace(-1, 1, rows) + 0.1 * random.normal(size=rows)
            parts.append(pd.DataFrame({"a": course, "c": random.choice(["p", "q"], rows), "k": f"s{number}", "label": "u"}))
            parts[-1]["label"] = random.choice(["u", "v"])
        return pd.concat(parts)

    settings = {"lookback": "all", "horizon": 0, "split_by": "series", "series": "k", "targets": ["label"], "classes": True}
    distances = distances_between(
        prepared(
            tmp_path,
            {"x": recordings(0, 200, 1.0), "y": recordings(1, 200, 1.0), "z": recordings(2, 200, -1.0)},
            features=["a"], categorical=["c"], **settings,
        )
    )  # fmt: skip
    assert abs(distances[0, 1]) < 0.01 < distances[0, 2]
    one = prepared(tmp_path / "one", {"x": noise(6), "y": noise(40)}, lookback=3, horizon=1, split=[0.7, 0.0, 0.3])
    assert one[0].num_samples("train") == 1
    assert np.isfinite(distances_between(one)).all()


def test_two_datasets_of_the_same_rows_are_at_no_distance(tmp_path: Path) -> None:
    assert np.abs(distances_between(prepared(tmp_path, {"x": noise(2000), "y": noise(2000)}))).max() < 0.002
