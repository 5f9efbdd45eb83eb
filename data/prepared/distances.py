"""Distances between datasets: the energy distance between train windows as the model sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.prepared.encoding import EncodedDataset, make_encodings
from data.prepared.prepared import PreparedDataset
from data.signed import read_signed, signed
from data.writing import write_whole

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# On twelve stations of one city, which are nearly alike, the distances of two independent draws of 256 windows agree in
# rank to 0.43 (Spearman), of 512 to 0.74, of 1024 to 0.89; where datasets differ, 256 are enough. The cost of a pair grows
# with the square.
NUM_WINDOWS = 512
NUM_FRAMES = 8  # into which a window of any length is cut; 4 and 16 rank those stations alike
DIGITS = 5  # kept of a distance: differences between machines are below
AT_A_TIME = 16  # datasets in one matrix product: with smaller products, threads on busy cores mostly wait
ROWS_AT_A_TIME = 65536  # gathered at once, so that whole series as samples fit into memory
KEPT = "distances-1.json"  # a file of distances; the number is the version of the method


def distances_between(datasets: Sequence[PreparedDataset]) -> Float64:
    """Return the energy coefficient of each pair of datasets: (datasets, datasets), symmetric, diagonal 0.

    Computed from train samples alone, with each dataset scaled by its own mean and deviation, whatever its settings say.
    Shape and dynamics are compared, not scale, and neither the order nor the other datasets matter. Cached beside the
    prepared rows.
    """
    # Sorted by the train rows, so that the same two datasets are always subtracted in the same direction.
    ranked = sorted(range(len(datasets)), key=lambda k: (datasets[k].manifest.sha256["train"], datasets[k].folder.name))
    coefficients = np.zeros((len(datasets), len(datasets)))
    samples: list[Sample] = []
    for position, one in enumerate(ranked):
        kept, names = _read(datasets[one]), [each.folder.name for each in datasets]
        absent = [other for other in ranked[position + 1 :] if names[other] not in kept]
        if absent:
            samples = samples or [Sample.of(courses) for courses in window_courses(datasets)]
            news = energy_coefficients(samples[one], [samples[other] for other in absent])
            kept |= {names[other]: round(value, DIGITS) for other, value in zip(absent, news, strict=True)}
            _write(datasets[one], kept)
        for other in ranked[position + 1 :]:
            coefficients[one, other] = coefficients[other, one] = kept[names[other]]
    return coefficients


@dataclass(frozen=True)
class Sample:
    """The points (samples, values) of a dataset, and the mean distance between two different points."""

    points: Float32
    within: float

    @staticmethod
    def of(points: Float32) -> Sample:
        """Return the sample of these points."""
        count = len(points)
        return Sample(
            points, float(_lengths(points, points).sum(dtype=np.float64) / (count * (count - 1))) if count > 1 else 0.0
        )


def energy_coefficients(one: Sample, others: Sequence[Sample]) -> list[float]:
    """Return the energy distance of a sample to each of the others as a share of the mean distance between the two.

    (2 E|X - Y| - E|X - X'| - E|Y - Y'|) / (2 E|X - Y|), the coefficient of inhomogeneity of Szekely and Rizzo (2013,
    Energy statistics; the distance itself: 2004, Testing for equal distributions in high dimension): 0 for equal
    distributions, at most 1. The means within a sample leave out each point's distance to itself, so that two samples of
    one distribution give about 0 even if they are small: some slightly less, two equal samples -1 / (points - 1).
    """
    coefficients: list[float] = []
    for start in range(0, len(others), AT_A_TIME):
        some = others[start : start + AT_A_TIME]
        lengths = _lengths(one.points, np.concatenate([each.points for each in some]))
        borders = np.cumsum([0, *(len(each.points) for each in some)])
        for each, low, high in zip(some, borders, borders[1:], strict=False):
            between = float(lengths[:, low:high].mean(dtype=np.float64))
            coefficients.append(1 - (one.within + each.within) / (2 * between) if between else 0.0)
    return coefficients


def _lengths(one: Float32, other: Float32) -> Float32:
    """Return Euclidean distances between all pairs: (samples, samples), in 32 bits (half the time, six digits)."""
    squares = one @ other.T
    squares *= -2
    squares += (one**2).sum(axis=1)[:, None]
    squares += (other**2).sum(axis=1)
    lengths: Float32 = np.sqrt(np.maximum(squares, 0, out=squares), out=squares)
    if one is other:
        np.fill_diagonal(lengths, 0)
    return lengths


def window_courses(datasets: Sequence[PreparedDataset]) -> list[Float32]:
    """Return train samples of each dataset as rows of numbers: (at most NUM_WINDOWS, values), equally wide in all datasets.

    One sample is drawn from each of NUM_WINDOWS stretches of equal length, with the same seed for all datasets. A sample
    has the encoded and scaled input window and the targets. Each column of the window is represented by the means of
    NUM_FRAMES frames of equal length (piecewise aggregate approximation, Keogh et al. 2001), so that windows of different
    lengths compare; a step of a shorter window counts in several frames. Inputs and targets have equal weight: each is
    divided by the root of the number of its values; a one-hot category or class counts as one column.
    """
    settings = [each.settings.model_copy(update={"scaling": "standard", "scaling_scope": "dataset"}) for each in datasets]
    encodings = make_encodings(datasets, settings)
    return [_courses(EncodedDataset(*each)) for each in zip(datasets, encodings, strict=True)]


def draw_windows(count: int) -> npt.NDArray[np.int64]:
    """Return the sample numbers that represent `count` samples, in order: one from each stretch, or all if there are few."""
    if count <= NUM_WINDOWS:
        return np.arange(count)
    edges = np.linspace(0, count, NUM_WINDOWS + 1).astype(np.int64)
    return edges[:-1] + (np.random.default_rng(0).random(NUM_WINDOWS) * np.diff(edges)).astype(np.int64)


def _courses(dataset: EncodedDataset) -> Float32:
    samples = draw_windows(dataset.num_samples("train"))
    longest = int(dataset.lengths("train")[samples].max())
    blocks = []
    for some in np.array_split(samples, min(len(samples), -(-len(samples) * longest // ROWS_AT_A_TIME))):
        batch = dataset.batch("train", some)
        if batch.targets.ndim == 1:
            ahead = (batch.targets[:, None] == np.arange(len(dataset.encoding.classes))).astype(np.float64)
        else:
            steps = np.full(len(some), batch.targets.shape[1])
            ahead = frames(batch.targets, steps) / np.sqrt(NUM_FRAMES * batch.targets.shape[2])
        columns = sum(column.kind not in ("target", "class") for column in dataset.prepared.columns)
        back = frames(batch.inputs, batch.lengths) / np.sqrt(NUM_FRAMES * columns)
        blocks.append(np.concatenate([back, ahead], axis=1))
    return np.concatenate(blocks).astype(np.float32)


def frames(values: npt.NDArray[Any], lengths: npt.NDArray[np.integer]) -> Float64:
    """Return the means of NUM_FRAMES equal stretches of each sample's steps: (samples, steps, columns) to (samples, values).

    Stretches divide the first `lengths` steps; a step that a border cuts counts in both frames, in proportion.
    """
    sums = np.zeros((values.shape[0], values.shape[1] + 2, values.shape[2]))
    np.cumsum(values, axis=1, dtype=np.float64, out=sums[:, 1:-1])
    borders = lengths[:, None] * np.arange(NUM_FRAMES + 1) / NUM_FRAMES
    steps = borders.astype(np.int64)
    share = (borders - steps)[..., None]
    row = np.arange(len(values))[:, None]
    until = sums[row, steps] * (1 - share) + sums[row, steps + 1] * share
    means = np.diff(until, axis=1) * (NUM_FRAMES / lengths)[:, None, None]
    return means.reshape(len(values), -1)


def _read(dataset: PreparedDataset) -> dict[str, float]:
    """Return the cached distances of a dataset, by the fingerprint of the other."""
    with contextlib.suppress(OSError, ValueError):
        return read_signed((dataset.folder / KEPT).read_bytes(), required=True)
    return {}


def _write(dataset: PreparedDataset, distances: dict[str, float]) -> None:
    with contextlib.suppress(OSError):  # in a read-only folder they are computed each time
        write_whole(dataset.folder / KEPT, signed(distances))
