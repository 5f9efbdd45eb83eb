"""Assign the rows of new files to datasets of a run, by a given name, a column or the file name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.compute as pc

from data.errors import InputError
from data.reading.file_format import SUFFIXES, FileFormat, stem, suffix_of
from data.reading.files import folder_name
from data.reading.settings import DatasetSource
from data.reading.table import RowPositions, has_column, read_table
from data.reading.texts import as_text
from workflows.recipe.checks import meant
from workflows.results.alike import most_alike
from workflows.results.trained import TrainedRun

FEW = 5  # values named in a message


@dataclass(frozen=True)
class Share:
    """New rows to forecast as one dataset: the rows that `source` names, with the head and scaling of `place`."""

    place: int
    source: DatasetSource


@dataclass(frozen=True)
class Unknown:
    """Rows that belong to no dataset of the run: where they begin, what they hold, and how they would be read."""

    where: str
    holds: str
    source: DatasetSource


def shares_of(run: TrainedRun, dataset: str | None, files: Sequence[str]) -> list[Share]:
    """Return which rows belong to which dataset, in the order of the run's datasets; raises InputError if that is unclear.

    With a name all rows are of that dataset, except that files with a column that names datasets have those of others,
    too. Without one, such a column decides, otherwise the name of a file or its folder. Rows of no dataset are refused,
    naming the most similar dataset, unless the model treats all datasets alike.
    """
    if dataset is not None:
        return [_named(run, dataset, files)]
    if len(run.datasets) == 1 and not run.sources[0].where:
        return [Share(0, _read_as(run.sources[0], files))]
    columns = dict.fromkeys(column for source in run.sources for column in source.where)
    found: dict[int, list[str]] = {}
    unknown: list[Unknown] = []
    for file in files:
        own = [column for column in columns if has_column(file, column, _form(run, column, file))]
        if own:
            for value, where in _values(file, own[0], _form(run, own[0], file)).items():
                place = _place_of_value(run, own[0], value, file)
                if place is None:
                    source = replace(_read_as(_first_with(run, own[0]), [file]), name=value, where={own[0]: value})
                    unknown.append(Unknown(where, f"{own[0]} = {value!r}", source))
                else:
                    found.setdefault(place, []).append(file)
            continue
        place = _place_of_file(run, file)
        if place is None:
            unknown.append(Unknown(file, "", replace(_read_as(run.sources[0], [file]), name=stem(file), where={})))
        else:
            found.setdefault(place, []).append(file)
    shares = [Share(place, _read_as(run.sources[place], found[place])) for place in sorted(found)]
    if unknown and not _alike_to_the_model(run):
        raise InputError([_refusal(run, each) for each in _together(unknown)])
    return shares + [Share(0, each.source) for each in _together(unknown)]


def _named(run: TrainedRun, dataset: str, files: Sequence[str]) -> Share:
    names = [each.name for each in run.datasets]
    if dataset not in names:
        whole = replace(_read_as(run.sources[0], files), where={})
        raise InputError(f"run {run.name!r} has no dataset {dataset!r}: {meant(dataset, names)}; {_ways_out(run, whole)}")
    place = names.index(dataset)
    source = _read_as(run.sources[place], files)
    for column, wanted in source.where.items():
        form = source.settings.file_format
        values = {value: file for file in files if has_column(file, column, form) for value in _values(file, column, form)}
        new = [value for value in values if _place_of_value(run, column, value, values[value]) is None]
        if wanted in values or not new:
            continue  # the rows of this dataset; reading them reports if there are none
        if len(new) > 1:
            shown = ", ".join(map(repr, new[:FEW])) + (" ..." if len(new) > FEW else "")
            raise InputError(
                f"--dataset {dataset}: no row has {column} = {wanted!r}, and there are {len(new)} others of no dataset "
                f"({shown}): give files of one of them"
            )
        source = replace(source, name=new[0], where={column: new[0]})  # a new site, forecast as this dataset
    return Share(place, source)


def _read_as(source: DatasetSource, files: Sequence[str]) -> DatasetSource:
    """Return the source with these files, and the format of the training files unless their names show another."""
    settings, known = source.settings, {SUFFIXES.get(suffix_of(file)) for file in files}
    if settings.format is not None and None not in known:
        settings = settings.model_copy(update={"format": None})
    return replace(source, files=tuple(files), test_files=(), settings=settings)


def _first_with(run: TrainedRun, column: str) -> DatasetSource:
    return next(source for source in run.sources if column in source.where)


def _form(run: TrainedRun, column: str, file: str) -> FileFormat:
    return _read_as(_first_with(run, column), [file]).settings.file_format


def _values(file: str, column: str, form: FileFormat) -> dict[str, str]:
    """Return the values of a column that names datasets, with their rows in words."""
    values = as_text(read_table(file, [], [column], form).column(column)).combine_chunks()
    if values.null_count:
        absent = int(np.flatnonzero(np.asarray(values.is_null()))[0])
        raise InputError(
            f"{RowPositions(file, form).at(absent)}: the column {column!r}, which names datasets, is empty: write the "
            "dataset that the row belongs to, or take the row out"
        )
    counted = {each["values"]: each["counts"] for each in pc.value_counts(values).to_pylist()}
    return {value: f"{file}: {count:,} rows" for value, count in counted.items()}


def _place_of_value(run: TrainedRun, column: str, value: str, file: str) -> int | None:
    """Return the dataset with this value; if several have it, the one with the file's name."""
    found = [place for place, source in enumerate(run.sources) if source.where == {column: value}]
    if len(found) > 1:
        said = {_filled(entry.keys.name, file).replace(f"{{{column}}}", value) for entry in run.recipe.entries}
        found = [place for place in found if run.datasets[place].name in said]
        if len(found) != 1:
            raise InputError(f"{file}: several datasets have {column} = {value!r}: name one with --dataset")
    return found[0] if found else None


def _place_of_file(run: TrainedRun, file: str) -> int | None:
    """Return the dataset that the name of a file or its folder shows; for a run with one dataset, that one."""
    names = [each.name for each in run.datasets]
    if len(names) == 1:
        return 0
    templates = [entry.keys.name for entry in run.recipe.entries if re.search(r"\{(file|folder)\}", entry.keys.name)]
    said = [*(_filled(template, file) for template in templates), stem(file), folder_name(file)]
    return next((names.index(name) for name in said if name in names), None)


def _filled(template: str, file: str) -> str:
    return template.replace("{file}", stem(file)).replace("{folder}", folder_name(file))


def _alike_to_the_model(run: TrainedRun) -> bool:
    """Return whether rows are forecast alike for every dataset; gaps at the start are filled as the first's."""
    scalings = {(each.encoding.center, each.encoding.scale) for each in run.datasets}
    return not run.plan.model.dataset_heads and len(scalings) == 1


def _together(unknown: Sequence[Unknown]) -> list[Unknown]:
    """Return one entry for each value or file, with all files that have it."""
    found: dict[str, Unknown] = {}
    for each in unknown:
        before = found.get(each.holds or each.where)
        if before is not None:
            files = (*before.source.files, *each.source.files)
            each = replace(before, where=f"{before.where}; {each.where}", source=replace(before.source, files=files))
        found[each.holds or each.where] = each
    return list(found.values())


def _refusal(run: TrainedRun, unknown: Unknown) -> str:
    names = [each.name for each in run.datasets]
    shown = ", ".join(names[:FEW]) + (" ..." if len(names) > FEW else "")
    if unknown.holds:
        what = f"{unknown.where} have {unknown.holds}, which is no dataset of run {run.name!r} ({shown})"
    else:
        what = (
            f"{unknown.where}: neither a column nor its name says which dataset of run {run.name!r} its rows are ({shown})"
        )
    return f"{what}: {_ways_out(run, unknown.source)}"


def _ways_out(run: TrainedRun, source: DatasetSource) -> str:
    """Return what to do about rows of no dataset: name the most similar one, or train a model that needs none."""
    found = most_alike(run, source)
    named = "name the most similar one with --dataset (`inspect` shows distances)"
    if found is not None:
        named = f"the most similar is {found[0]!r} (distance {found[1]:.2f}): name it with --dataset"
    if len(run.datasets) == 1:
        return named
    keys = ['head = "shared"'] * run.plan.model.dataset_heads + ['scaling_scope = "shared"']
    return f"{named}, or train with {' and '.join(keys)}, which forecasts rows of any dataset"
