"""New rows to predict from, read with the columns, gap filling, categories and scaler of a trained dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from data.errors import IN_RECIPE, InputError
from data.prepared.encoding import Batch, EncodedDataset, Encoding
from data.prepared.manifest import Manifest
from data.prepared.no_window import NoWindowError as NoWindowError
from data.prepared.no_window import why_no_window
from data.prepared.prepared import PreparedDataset
from data.reading.columns import columns_of
from data.reading.optional import misspelt_problems
from data.reading.read import wanted_columns
from data.reading.settings import SPLITS, DatasetSource
from data.reading.table import check_header
from data.samples.ahead import UNKNOWN
from data.samples.new_part import NEW, NewPart, NewShard, RunNew, source_for, without_targets
from data.samples.part import Part
from data.samples.series import check_kinds_of_time

Int64 = npt.NDArray[np.int64]


FEW = 5  # names in a sentence


@dataclass(frozen=True)
class WindowPositions:
    """The series of windows (windows,), the times of their last rows (windows,) and of predicted steps (windows * steps,).

    A time is a date, a number, or the row's number from 0; the time of a step is null if unknown.
    """

    series: npt.NDArray[np.object_]
    cutoff: pa.Array
    times: pa.Array


class NewData:
    """Windows of new rows, encoded as the dataset was in training; numbered by part, then series, then time.

    The times of `ahead` steps after each series are known.
    """

    def __init__(self, folder: Path, parts: Sequence[NewPart], source: DatasetSource, encoding: Encoding, ahead: int = 0):
        self.folder, self.parts, self.ahead = folder, parts, ahead
        none = dict.fromkeys(SPLITS, 0)
        Manifest(
            name=source.name,
            columns=columns_of(source),
            targets=source.settings.targets,
            classes=False,
            horizon=0,
            samples={**none, NEW: sum(part.samples for part in parts)},
            parts=[
                Part(samples={**none, NEW: part.samples}, categories=part.categories, holes=part.holes) for part in parts
            ],
        ).write(folder)
        self.prepared = PreparedDataset(folder, source.name, source.settings)
        self._encoded = EncodedDataset(self.prepared, encoding, ahead=ahead)
        self.lengths = self.prepared.lengths(NEW)
        kinds = {part.kind_of_time[1] for part in parts if part.kind_of_time}
        seconds = all(part.whole_seconds for part in parts)
        dates = bool(kinds) and kinds != {"number"}
        zone = source.settings.time_zone if dates else None
        self.time_type = pa.timestamp("s" if seconds else "us", zone) if dates else pa.int64()
        self._divisor = 1_000_000 if dates and seconds else 1

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, samples: Int64) -> Batch:
        """Return the encoded windows of these numbers, without targets."""
        return self._encoded.inputs(NEW, samples)

    def positions(self, samples: Int64) -> WindowPositions:
        """Return the positions of these windows, and the times of the steps they predict (horizon 0: the last row)."""
        names, last = np.empty(len(samples), object), np.empty(len(samples), np.int64)
        steps = np.empty((len(samples), max(self.ahead, 1)), np.int64)
        following = np.arange(1, self.ahead + 1) if self.ahead else np.zeros(1, np.int64)
        for number, where in self.prepared.groups(NEW, samples):
            starts, lengths = self.prepared.locate(NEW, number, samples[where])
            rows, part = starts + lengths - 1, self.parts[number]
            series = np.searchsorted(np.cumsum(part.rows), rows, side="right")
            times = np.load(self.folder / f"times-{number:05d}.npy", mmap_mode="r")
            rows = rows + self.ahead * series  # the times after each series follow it
            names[where] = np.array(part.names, object)[series]
            last[where] = times[rows]
            steps[where] = times[rows[:, None] + following]
        return WindowPositions(names, self._as_times(last), self._as_times(steps.ravel()))

    def _as_times(self, values: Int64) -> pa.Array:
        return pa.array(values // self._divisor, mask=values == UNKNOWN).cast(self.time_type)

    def warnings(self) -> Iterator[str]:
        """Return warnings: series without a forecast, by name, and irregular time steps."""
        settings = self.prepared.settings
        few = f"fewer rows than one window (min_lookback {settings.shortest_history})"
        gap = 'no window without a missing value, and missing = "drop"'
        blind = "no target is observed in any window: a forecast would come from filled values alone"
        ahead = f"no window with {', '.join(settings.known_future)} at the {self.ahead} rows behind it"
        for what, names in ((few, "short"), (gap, "touched"), (blind, "unobserved"), (ahead, "unforeseen")):
            series = [name for part in self.parts for name in getattr(part, names)]
            if series:
                yield f"{len(series)} series without a forecast ({_few(series)}): {what}"
        cut = [words for part in self.parts for words in part.cut]
        yield from cut[:FEW]
        if len(cut) > FEW:
            yield f"{len(cut) - FEW} more series have empty rows at their end and end at the last observed one"
        blind_windows = sum(part.blind for part in self.parts)
        if blind_windows:
            yield f"{blind_windows:,} windows without a single observed target give no forecast"
        unknown_windows = sum(part.no_future for part in self.parts)
        if unknown_windows:
            names = ", ".join(settings.known_future)
            yield f"{unknown_windows:,} windows without {names} at the {self.ahead} rows behind them give no forecast"
        filled = sorted(((name, share) for part in self.parts for name, share in part.filled), key=lambda each: -each[1])
        if filled:
            shown = ", ".join(f"{name!r} {share:.0%}" for name, share in filled[:FEW]) + (
                " ..." if len(filled) > FEW else ""
            )
            yield f"forecasts of {len(filled)} series come from windows of which more than a tenth was filled: {shown}"
        unknown = [name for part in self.parts for name in part.without_step]
        if unknown:
            yield (
                f"{len(unknown)} series without regular steps of time ({_few(unknown)}): the `time` of steps after them is "
                "empty: train with `frequency`, which defines them"
            )
        for column, known in self._encoded.encoding.categories.items():
            unseen = sorted({label for part in self.parts for label in part.categories[column]} - set(known))
            if unseen:
                yield f"column {column!r}: {_few(unseen)} is an unseen category, treated as missing"
        yield from (warning for part in self.parts for warning in part.warnings)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:FEW])) + (" ..." if len(names) > FEW else "")


def read_new(
    files: Sequence[str],
    trained: PreparedDataset,
    source: DatasetSource,
    encoding: Encoding,
    folder: Path,
    every: bool,
    run: RunNew,
) -> NewData:
    """Return the windows of some files, for a model trained on the rows of `trained`, with their encoding.

    Targets are not read unless they are features too. Written into `folder`, which must be empty. Raises InputError with
    all problems of the files, or if no series has enough rows for a window.
    """
    ahead = source.settings.horizon
    source = without_targets(source)
    problems = [problem for file in files for problem in _header_problems(file, source)]
    if problems:
        raise InputError(map(_of_new_file, problems))
    groups = [tuple(files)] if source.settings.series is None else [(file,) for file in files]
    parts = _run(groups, source, folder, every, ahead, run)
    names = [name for part in parts for name in part.names]
    if len(set(names)) < len(names):  # a series has rows in several files
        parts = _run([tuple(files)], source, folder, every, ahead, run)
    _check_times(parts, trained)
    return finish_new(parts, source, encoding, folder, ahead)


def _check_times(parts: Sequence[NewPart], trained: PreparedDataset) -> None:
    """Raise InputError if the times of the new files have another kind than in training."""
    before = [part.kind_of_time[1] for part in trained.manifest.parts if part.kind_of_time is not None]
    for part in parts:
        if part.kind_of_time is None or not before or part.kind_of_time[1] == before[0]:
            continue
        file, kind = part.kind_of_time
        if trained.manifest.version < 2 and "number" not in (kind, before[0]):
            continue  # earlier versions did not record whether there was a zone
        raise InputError(
            f"{file}: its times are {kind}s, those of the training files were {before[0]}s: write the same kind, or "
            "train with time_zone, which understands times with and without a zone"
        )


def _header_problems(file: str, source: DatasetSource) -> list[str]:
    try:
        numbers, texts = wanted_columns(source_for(source, file), with_targets=False)
        needed = [name for name in (*numbers, *texts) if name not in source.settings.optional]
        check_header(file, needed, source.settings.file_format)
        return misspelt_problems(file, source)
    except InputError as error:
        return error.messages


def _run(
    groups: Sequence[tuple[str, ...]], source: DatasetSource, folder: Path, every: bool, ahead: int, run: RunNew
) -> list[NewPart]:
    shards = [NewShard(source, group, folder, number, every, ahead) for number, group in enumerate(groups)]
    parts = [part for task in run([[shard] for shard in shards]) for part in task]
    problems = list(dict.fromkeys(problem for part in parts for problem in part.problems))
    if problems:
        raise InputError(map(_of_new_file, problems))
    return parts


def _of_new_file(problem: str) -> str:
    """Return a problem reworded for new files, which are read without a recipe."""
    if not problem.endswith(IN_RECIPE):
        return problem
    statement = problem.rpartition(": write ")[0]
    if "which is optional" in statement:
        return f"{statement}: name it as the training files do"
    whats = {"separated": "delimiter", "header": "header", "encoding": "encoding", "suffix": "format"}
    what = next((what for word, what in whats.items() if word in statement), "format of times")
    return f"{statement}: write the file with the {what} of the training files"


def finish_new(parts: Sequence[NewPart], source: DatasetSource, encoding: Encoding, folder: Path, ahead: int = 0) -> NewData:
    """Combine the parts in a folder; raises InputError if none of them has a window."""
    check_kinds_of_time([part.kind_of_time for part in parts if part.kind_of_time is not None])
    if not any(part.samples for part in parts):
        raise why_no_window(parts, source, ahead)
    return NewData(folder, parts, source, encoding, ahead)
