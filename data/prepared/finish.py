"""Combine the parts of a dataset: check them and write one manifest."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from data.errors import InputError
from data.prepared.manifest import Manifest
from data.prepared.prepared import PreparedDataset
from data.reading.columns import MAX_CATEGORIES, columns_of
from data.reading.optional import optional_warnings
from data.reading.read import measured_columns
from data.reading.settings import SPLITS, DatasetSource
from data.reading.times import show_time
from data.samples.counts import Counts
from data.samples.naive import class_errors, label_errors
from data.samples.naive_sums import NaiveSums
from data.samples.notes import mixed_steps
from data.samples.part import Part
from data.samples.series import check_kinds_of_time
from data.samples.statistics import Statistics
from data.sharding.totals import irregular_warning, is_cut, longest_gaps, total_rows, total_statistics, usual_steps_of

FEWEST_STEPS = 100  # of 32-bit resolution in a standard deviation; with fewer the values are visibly rounded


def finish(source: DatasetSource, parts: list[Part], folder: Path, fingerprint: str) -> list[str]:
    """Combine the facts of the parts and write the manifest; returns the problems of the dataset as a whole."""
    numeric = measured_columns(source)
    cut = is_cut(parts)
    if cut:
        statistics, gaps = total_statistics(parts, len(numeric)), longest_gaps(parts, numeric)
    else:
        statistics = Statistics.pooled((Statistics.from_json(part.statistics) for part in parts), len(numeric))
        gaps = {column: max(part.longest_gap[column] for part in parts) for column in numeric}
    samples = {split: sum(part.samples[split] for part in parts) for split in SPLITS}
    problems = _whole_problems(source, parts, statistics, samples)
    if problems:
        return problems
    settings = source.settings
    counts = Counts.total(part.counts for part in parts)
    manifest = Manifest(
        name=source.name,
        fingerprint=fingerprint,
        # Scaling is applied when a batch is gathered, so it is not a property of the prepared rows.
        settings=settings.model_dump(mode="json", exclude={"scaling", "scaling_scope"}),
        columns=columns_of(source),
        targets=settings.targets,
        classes=source.classes,
        horizon=settings.horizon,
        rows=total_rows(parts) if cut else sum(part.rows for part in parts),
        num_series=sum(part.num_series for part in parts),
        samples=samples,
        used_rows=sum(part.used_rows for part in parts),
        missing={column: sum(part.missing[column] for part in parts) for column in numeric},
        longest_gap=gaps,
        time_span=_time_span(parts, settings.time_zone),
        statistics=statistics,
        sha256={split: _sha256(parts, split) for split in SPLITS},
        warnings=_warnings(source, parts, statistics) + counts.warnings(sum(samples.values()), settings.frequency),
        parts=parts,
        counts=counts,
    )
    manifest.write(folder)
    naive = _naive_errors(PreparedDataset(folder))
    dataclasses.replace(manifest, naive=naive, warnings=[*manifest.warnings, *_flat(naive)]).write(folder)
    return []


def _sha256(parts: list[Part], split: str) -> str:
    """Return the hash of all rows that the samples of a split can see, over the parts that have such samples."""
    return hashlib.sha256("".join(part.sha256[split] for part in parts if part.samples[split]).encode()).hexdigest()


def _time_span(parts: list[Part], zone: str | None) -> tuple[str, str] | None:
    """Return the times of the first and last row in any split; None where rows have no time."""
    spans = [part.time_span for part in parts if part.time_span is not None]
    kinds = [part.kind_of_time[1] for part in parts if part.kind_of_time is not None]
    if not spans:
        return None
    first, last = min(first for first, _ in spans), max(last for _, last in spans)
    return show_time(first, kinds[0], zone), show_time(last, kinds[0], zone)


def _describe(source: DatasetSource) -> str:
    files = f" ({', '.join(source.files[:2])}{', ...' if len(source.files) > 2 else ''})" if source.files else ""
    return f"dataset {source.name!r}{files}"


def _whole_problems(source: DatasetSource, parts: list[Part], statistics: Statistics, samples: dict[str, int]) -> list[str]:
    settings, subject = source.settings, _describe(source)
    try:
        check_kinds_of_time([part.kind_of_time for part in parts if part.kind_of_time is not None])
    except InputError as error:
        return [f"dataset {source.name!r}: {message}" for message in error.messages]
    rows, name, where = max(part.longest for part in parts)
    if rows < settings.shortest_history + settings.horizon:
        least = 1 + settings.horizon  # rows of a sample with a lookback of 1
        if rows < least:
            return [
                f"{where or 'its arrays'}, dataset {source.name!r}: it has {rows} row{'' if rows == 1 else 's'}, and a "
                f"sample has at least {least}: give it more rows, or leave it out of the path"
            ]
        return [
            f"{where or 'its arrays'}, dataset {source.name!r}: no series is as long as one sample ({_one_sample(source)}); "
            f"the longest, {name!r}, has {rows}: write a shorter lookback, min_lookback or horizon"
        ]
    problems = []
    for column in settings.categorical:
        labels = {label for part in parts for label in part.train_categories[column]}
        if len(labels) > MAX_CATEGORIES:
            problems.append(
                f"{subject}, column {column!r}: its train rows have {len(labels)} categories, at most {MAX_CATEGORIES} can "
                "become columns: leave it out of categorical, or group its values"
            )
    any_train = any(part.train_spans for part in parts)
    for column, count in dict(zip(measured_columns(source), statistics.count, strict=True)).items():
        if count == 0 and any_train and column not in settings.optional:
            role = "target is missing" if column in settings.targets else "column has no value"
            problems.append(
                f"{subject}: the {role} everywhere in the train rows, {column!r}: name another, or train on more rows"
            )
    expected = settings.expected_parts() + (["test"] if source.test_files else [])
    for split in dict.fromkeys(expected):
        if samples[split] == 0 and not problems:
            needed = f"lookback {settings.lookback}, horizon {settings.horizon}, missing {settings.missing!r}"
            needed += "" if settings.weight is None else f", weight {settings.weight!r} above 0"
            problems.append(
                f"{subject}: split = {_show_split(source)} leaves no sample in the {split} part ({needed}): give that part "
                "more rows (with targets), or write a shorter lookback or horizon"
            )
    return problems


def _warnings(source: DatasetSource, parts: list[Part], statistics: Statistics) -> list[str]:
    irregular = irregular_warning(parts, source.settings.time_zone)
    mixed = mixed_steps([*(part.steps for part in parts), usual_steps_of(parts)]) if source.settings.grid is None else None
    warnings = [*(warning for part in parts for warning in part.warnings), *([irregular] if irregular else [])]
    warnings = [*dict.fromkeys(warnings), *([mixed] if mixed else [])]
    short, every = sum(part.num_short for part in parts), sum(part.num_series for part in parts)
    if short:
        warnings.append(f"{short} of {every} series are shorter than one sample ({_one_sample(source)}) and give none")
    seen = dict(zip(measured_columns(source), statistics.count, strict=True))
    warnings += optional_warnings(source, seen)
    spreads = dict(zip(measured_columns(source), statistics.deviation, strict=True))
    spreads = {
        column: spread for column, spread in spreads.items() if seen[column] or column not in source.settings.optional
    }
    constant = [column for column, spread in spreads.items() if spread == 0]
    size = dict(zip(measured_columns(source), np.maximum(abs(statistics.low), abs(statistics.high)), strict=True))
    for column, spread in spreads.items():
        if (
            all(part.bits == 32 for part in parts)
            and 0 <= spread < FEWEST_STEPS * np.finfo(np.float32).eps * size[column]
            and (spread or size[column] > 2**24)
        ):
            warnings.append(
                f"column {column!r} varies by {spread:.3g} around values of up to {size[column]:.3g}, too little for 32-bit "
                "numbers: subtract a constant from it"
            )
    # Nothing about scaling: the same folder serves runs with other scalings.
    return warnings + [f"column {column!r} is constant in the train rows and carries no information" for column in constant]


def _one_sample(source: DatasetSource) -> str:
    history, horizon = source.settings.shortest_history, source.settings.horizon
    return f"min_lookback {history} + horizon {horizon} = {history + horizon} rows"


def _show_split(source: DatasetSource) -> str:
    split = source.settings.split
    return str(split) if isinstance(split, list) else str(split.model_dump(exclude_none=True))


def _flat(naive: dict[str, NaiveSums]) -> list[str]:
    """Return a warning for each split in which the naive forecast has no error, so that no relative error exists."""
    flat = [split for split, sums in naive.items() if sums.flat]
    return [
        f"no target changes in the {split} part, so the naive forecast makes no error there: this dataset has no scaled "
        "error and is left out of the mean"
        for split in flat
    ]


def _naive_errors(prepared: PreparedDataset) -> dict[str, NaiveSums]:
    """Return the sums of the naive forecast's errors on validation and test, in the targets' own units."""
    errors: dict[str, NaiveSums] = {}
    labels = {
        split: sum((Counter(part.labels.get(split, {})) for part in prepared.manifest.parts), Counter[str]())
        for split in SPLITS
    }
    for split in SPLITS[1:]:
        if prepared.classes:
            errors[split] = class_errors(labels["train"], labels[split])
        elif prepared.horizon == 0:
            errors[split] = label_errors(prepared.target_rows("train"), prepared.target_rows(split))
        else:
            errors[split] = NaiveSums.total([part.naive[split] for part in prepared.manifest.parts])
    return errors
