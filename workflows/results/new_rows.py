"""Assign the rows of new files to datasets of a run, by --dataset, a column or the file name."""

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
from workflows.recipe.checks import suggest
from workflows.results.alike import most_alike
from workflows.results.trained import TrainedRun

FEW = 5  # values named in a message


@dataclass(frozen=True)
class Share:
    """New rows to forecast as one dataset: the rows of `source`, with the head and scaling of dataset `index`."""

    index: int
    source: DatasetSource


@dataclass(frozen=True)
class Unknown:
    """Rows that belong to no dataset of the run: where they are, the value that names them, and how they would be read.

    `value` is empty if nothing but the name of the file could name a dataset.
    """

    where: str
    value: str
    source: DatasetSource


def shares_of(run: TrainedRun, dataset: str | None, files: Sequence[str]) -> list[Share]:
    """Return which rows belong to which dataset, in the order of the run's datasets; raises InputError if that is unclear.

    With `dataset`, all rows belong to it, except rows with another name in a column that names datasets. Without it,
    such a column decides, otherwise the name of the file or its folder. Rows of no dataset are refused, with the most
    similar dataset in the message, unless the model treats all datasets alike.
    """
    if dataset is not None:
        return [_named_share(run, dataset, files)]
    if len(run.datasets) == 1 and not run.sources[0].where:
        return [Share(0, _source_of(run.sources[0], files))]
    columns = dict.fromkeys(column for source in run.sources for column in source.where)
    files_of: dict[int, list[str]] = {}
    unknown: list[Unknown] = []
    for file in files:
        naming = [column for column in columns if has_column(file, column, _file_format(run, column, file))]
        if naming:
            for value, where in _values(file, naming[0], _file_format(run, naming[0], file)).items():
                index = _index_by_value(run, naming[0], value, file)
                if index is None:
                    source = replace(_source_of(_first_with(run, naming[0]), [file]), name=value, where={naming[0]: value})
                    unknown.append(Unknown(where, f"{naming[0]} = {value!r}", source))
                else:
                    files_of.setdefault(index, []).append(file)
            continue
        index = _index_by_file(run, file)
        if index is None:
            unknown.append(Unknown(file, "", replace(_source_of(run.sources[0], [file]), name=stem(file), where={})))
        else:
            files_of.setdefault(index, []).append(file)
    shares = [Share(index, _source_of(run.sources[index], files_of[index])) for index in sorted(files_of)]
    if unknown and not _treats_all_alike(run):
        raise InputError([_refusal_message(run, each) for each in _merged(unknown)])
    return shares + [Share(0, each.source) for each in _merged(unknown)]


def _named_share(run: TrainedRun, dataset: str, files: Sequence[str]) -> Share:
    names = [each.name for each in run.datasets]
    if dataset not in names:
        source_of_all = replace(_source_of(run.sources[0], files), where={})
        raise InputError(
            f"run {run.name!r} has no dataset {dataset!r}: {suggest(dataset, names)}; {_remedy(run, source_of_all)}"
        )
    index = names.index(dataset)
    source = _source_of(run.sources[index], files)
    for column, expected in source.where.items():
        form = source.settings.file_format
        values = {value: file for file in files if has_column(file, column, form) for value in _values(file, column, form)}
        new = [value for value in values if _index_by_value(run, column, value, values[value]) is None]
        if expected in values or not new:
            continue  # reading reports if this dataset has no rows
        if len(new) > 1:
            examples = ", ".join(map(repr, new[:FEW])) + (" ..." if len(new) > FEW else "")
            raise InputError(
                f"--dataset {dataset}: no row has {column} = {expected!r}, and {len(new)} other values belong to no dataset "
                f"({examples}): name files with only one of them"
            )
        source = replace(source, name=new[0], where={column: new[0]})  # a new site, forecast as this dataset
    return Share(index, source)


def _source_of(source: DatasetSource, files: Sequence[str]) -> DatasetSource:
    """Return the source with these files, and the format of the training files unless their names show another."""
    settings, formats = source.settings, {SUFFIXES.get(suffix_of(file)) for file in files}
    if settings.format is not None and None not in formats:
        settings = settings.model_copy(update={"format": None})
    return replace(source, files=tuple(files), test_files=(), settings=settings)


def _first_with(run: TrainedRun, column: str) -> DatasetSource:
    return next(source for source in run.sources if column in source.where)


def _file_format(run: TrainedRun, column: str, file: str) -> FileFormat:
    return _source_of(_first_with(run, column), [file]).settings.file_format


def _values(file: str, column: str, form: FileFormat) -> dict[str, str]:
    """Return the values of a column that names datasets, each with its file and number of rows in words."""
    values = as_text(read_table(file, [], [column], form).column(column)).combine_chunks()
    if values.null_count:
        first_empty = int(np.flatnonzero(np.asarray(values.is_null()))[0])
        raise InputError(
            f"{RowPositions(file, form).at(first_empty)}: the column {column!r}, which names datasets, is empty: write the "
            "dataset that the row belongs to, or take the row out"
        )
    counted = {each["values"]: each["counts"] for each in pc.value_counts(values).to_pylist()}
    return {value: f"{file}: {count:,} rows" for value, count in counted.items()}


def _index_by_value(run: TrainedRun, column: str, value: str, file: str) -> int | None:
    """Return the index of the dataset with this value; if several have it, of the one with the file's name."""
    indices = [index for index, source in enumerate(run.sources) if source.where == {column: value}]
    if len(indices) > 1:
        names = {_fill_template(entry.keys.name, file).replace(f"{{{column}}}", value) for entry in run.recipe.entries}
        indices = [index for index in indices if run.datasets[index].name in names]
        if len(indices) != 1:
            raise InputError(f"{file}: several datasets have {column} = {value!r}: name one with --dataset")
    return indices[0] if indices else None


def _index_by_file(run: TrainedRun, file: str) -> int | None:
    """Return the index of the dataset that a file or its folder is named after; 0 for a run with one dataset."""
    names = [each.name for each in run.datasets]
    if len(names) == 1:
        return 0
    templates = [entry.keys.name for entry in run.recipe.entries if re.search(r"\{(file|folder)\}", entry.keys.name)]
    candidates = [*(_fill_template(template, file) for template in templates), stem(file), folder_name(file)]
    return next((names.index(name) for name in candidates if name in names), None)


def _fill_template(template: str, file: str) -> str:
    return template.replace("{file}", stem(file)).replace("{folder}", folder_name(file))


def _treats_all_alike(run: TrainedRun) -> bool:
    """Return whether forecasts do not depend on the dataset, apart from leading gaps, filled as in the first dataset."""
    scalings = {(each.encoding.center, each.encoding.scale) for each in run.datasets}
    return not run.plan.model.dataset_heads and len(scalings) == 1


def _merged(unknown: Sequence[Unknown]) -> list[Unknown]:
    """Return one entry for each value or file, with all files that have it."""
    merged: dict[str, Unknown] = {}
    for each in unknown:
        earlier = merged.get(each.value or each.where)
        if earlier is not None:
            files = (*earlier.source.files, *each.source.files)
            each = replace(earlier, where=f"{earlier.where}; {each.where}", source=replace(earlier.source, files=files))
        merged[each.value or each.where] = each
    return list(merged.values())


def _refusal_message(run: TrainedRun, unknown: Unknown) -> str:
    names = [each.name for each in run.datasets]
    examples = ", ".join(names[:FEW]) + (" ..." if len(names) > FEW else "")
    if unknown.value:
        problem = f"{unknown.where} have {unknown.value}, which is no dataset of run {run.name!r} ({examples})"
    else:
        problem = (
            f"{unknown.where}: neither a column nor its name says which dataset of run {run.name!r} its rows belong to "
            f"({examples})"
        )
    return f"{problem}: {_remedy(run, unknown.source)}"


def _remedy(run: TrainedRun, source: DatasetSource) -> str:
    """Return the remedy for rows of no dataset: name the most similar one, or train a model that needs none."""
    nearest = most_alike(run, source)
    advice = "name the most similar one with --dataset (`inspect` shows distances)"
    if nearest is not None:
        advice = f"the most similar is {nearest[0]!r} (distance {nearest[1]:.2f}): name it with --dataset"
    if len(run.datasets) == 1:
        return advice
    keys = ['head = "shared"'] * run.plan.model.dataset_heads + ['scaling_scope = "shared"']
    return f"{advice}, or train with {' and '.join(keys)}, which forecasts rows of any dataset"
