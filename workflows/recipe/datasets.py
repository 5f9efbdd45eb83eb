"""Expand the [[datasets]] entries of a recipe into datasets with their files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.reading.file_format import FileFormat, stem
from data.reading.files import FileNotes, absolute, folder_name
from data.reading.find import find_files, hive_values, natural_order
from data.reading.read import FILE_AS_SERIES, distinct_values
from data.reading.settings import DatasetSource
from data.reading.table import file_has_column
from workflows.recipe.defaults import with_defaults
from workflows.recipe.kept import KeptDataset, match_kept
from workflows.recipe.recipe import ACTING, Entry, Recipe, name_problems

BUILT_IN_DATA = "{built_in}"
NOTHING_KEPT: Mapping[str, KeptDataset] = {}


def find_datasets(
    recipe: Recipe, facts: FileNotes, built_in: str | Path, kept: Mapping[str, KeptDataset] = NOTHING_KEPT
) -> tuple[list[DatasetSource], list[int]]:
    """Return every dataset with its files and epochs; raises InputError with all problems.

    Those that are not trained have 0 epochs and come last. {file} in an entry's name creates a dataset for each matching
    file, {folder} for each folder, {COLUMN} for each distinct value of a column, in the order of paths, then names, then
    first appearance. `facts` caches the values of columns of unchanged files; a path that begins with
    {built_in} is in the folder of built-in data. An entry whose files are gone matches the `kept` datasets of its name and
    settings, which have no files.
    """
    sources: list[DatasetSource] = []
    epochs: list[int] = []
    problems: list[str] = []
    for number, entry in enumerate(recipe.entries, 1):
        try:
            expanded = _expand(entry, recipe, facts, built_in)
        except InputError as error:
            expanded = match_kept(entry, kept, recipe.model.classifies) if _is_gone(entry, recipe, built_in) else []
            if expanded:
                sources += expanded
                epochs += [_epochs_of(entry, recipe)] * len(expanded)
                continue
            template = re.search(r"\{[^{}]*\}", entry.keys.name)  # the name is still a template
            owner = f"[[datasets]] {number} (name = {entry.keys.name!r})" if template else f"dataset {entry.keys.name!r}"
            problems += [f"{owner}: {message}" for message in error.messages]
            continue
        sources += expanded
        epochs += [_epochs_of(entry, recipe)] * len(expanded)
    for number, source in enumerate(sources):
        problems += [f"dataset {problem}" for problem in name_problems(source.name)]
        if source.name in [other.name for other in sources[:number]]:
            problems.append(f"dataset {source.name!r}: this name is used twice: give each dataset its own name")
    problems = problems or decay_problems(recipe.training.decay_rate, sum(count > 0 for count in epochs))
    if problems:
        raise InputError(problems)
    order = sorted(range(len(sources)), key=lambda index: epochs[index] == 0)
    return [sources[index] for index in order], [epochs[index] for index in order]


def _epochs_of(entry: Entry, recipe: Recipe) -> int:
    return (entry.keys.epochs or recipe.training.epochs) if entry.keys.train else 0


def decay_problems(decay: float | list[float], count: int) -> list[str]:
    """Return the problems of the decay rates for so many datasets."""
    if not isinstance(decay, list) or len(decay) == count - 1:
        return []
    return [
        f"training.decay_rate has {len(decay)} rates, but {count} datasets have {count - 1} changes: write one rate "
        "for each change, or one number"
    ]


def _expand(entry: Entry, recipe: Recipe, facts: FileNotes, built_in: str | Path) -> list[DatasetSource]:
    settings, classes = entry.settings, recipe.model.classifies
    any_suffix = settings.format is not None
    listed = _find(entry.keys.path, recipe, built_in, any_suffix)
    files = list(dict.fromkeys(file for path in listed for file in path))
    # Addresses use the alphabetical order of the files; datasets are created in this one.
    natural = list(dict.fromkeys(file for path in listed for file in sorted(path, key=natural_order)))
    tested = _find(entry.keys.test_path, recipe, built_in, any_suffix) if entry.keys.test_path else []
    test_files = list(dict.fromkeys(file for path in tested for file in path))
    both = sorted(set(files) & set(test_files))
    if both:
        raise InputError(f"{both[0]} is in path and in test_path: remove it from one of them")
    if settings.series == FILE_AS_SERIES:
        stems = [stem(file) for file in files]
        twice = [file for file in files if stems.count(stem(file)) > 1]
        if twice:
            raise InputError(
                f'{twice[0]} and {twice[1]} have the same name, which is their series with series = "{{file}}": rename '
                "one, or write an entry for each folder"
            )
    template = entry.keys.name
    fields = re.findall(r"\{([^{}]*)\}", template)
    columns = [name for name in dict.fromkeys(fields) if name not in ("file", "folder")]
    if len(columns) > 1:
        raise InputError(f"the name has the columns {', '.join(columns)}: use one column, {{file}} or {{folder}}")
    sources = []
    for group in _groups(natural, fields):
        name = template.replace("{file}", stem(group[0])).replace("{folder}", folder_name(group[0]))
        values = _values_of(group, columns[0], settings.file_format, facts) if columns else [None]
        for value in values:
            where = {} if value is None else {columns[0]: value}
            full_name = name if value is None else name.replace(f"{{{columns[0]}}}", _as_name(value))
            matching = group if value is None else _files_with(group, columns[0], value, settings.file_format)
            matching = [file for file in files if file in set(matching)]
            sources.append(DatasetSource(full_name, tuple(matching), settings, tuple(test_files), where, classes))
    return sources


def _is_gone(entry: Entry, recipe: Recipe, built_in: str | Path) -> bool:
    """Return whether a file that an entry names is missing, or no file matches."""
    try:
        for paths in (entry.keys.path, entry.keys.test_path or []):
            _find(paths, recipe, built_in, entry.settings.format is not None)
    except InputError:
        return True
    return False


def _groups(files: list[str], fields: list[str]) -> list[list[str]]:
    """Return the files of each dataset of {file} or {folder}: in the order of the paths, then of the names."""
    if "file" in fields:
        return [[file] for file in files]
    if "folder" not in fields:
        return [files]
    by_folder: dict[str, list[str]] = {}
    for file in files:
        by_folder.setdefault(file.rpartition("/")[0], []).append(file)
    return list(by_folder.values())


def _as_name(value: str) -> str:
    """Return a column value as part of a name, without slashes, control and bidirectional characters."""
    return re.sub(rf"[/\\{ACTING}]", "_", value)


def _files_with(files: list[str], column: str, value: str, form: FileFormat) -> list[str]:
    """Return the files that may have the value: a folder named column=other cannot."""
    candidates = [
        file for file in files if hive_values(file).get(column, value) == value or file_has_column(file, column, form)
    ]
    return candidates or files


def _find(paths: str | list[str], recipe: Recipe, built_in: str | Path, any_suffix: bool) -> list[list[str]]:
    """Return the files of each path."""
    files = []
    for path in [paths] if isinstance(paths, str) else paths:
        location = path.replace(BUILT_IN_DATA, str(built_in))
        files.append(find_files(absolute(location, recipe.folder), any_suffix))
    return files


def _values_of(files: list[str], column: str, form: FileFormat, facts: FileNotes) -> list[str]:
    """Return the values of a column in the order of the files, then of first appearance."""
    values: dict[str, None] = {}
    for file in files:
        fact = f"values of {column} as they come, {hashlib.sha256(repr(form).encode()).hexdigest()[:16]}"
        known = facts.get(file, fact)
        if not isinstance(known, list):
            known = distinct_values(file, column, form)
            facts.put(file, fact, known)
        values |= dict.fromkeys(known)
    if not values:
        raise InputError(f"the column {column!r} is empty in all files, so it names no dataset")
    return list(values)


def movable(recipe: Recipe) -> dict[str, Any]:
    """Return the document of a recipe with absolute paths and today's defaults: valid in any folder, at any time."""

    def moved(paths: Any) -> Any:
        if isinstance(paths, list):
            return [moved(path) for path in paths]
        return paths if BUILT_IN_DATA in paths else absolute(paths, recipe.folder)

    datasets = [
        {key: moved(value) if key in ("path", "test_path") else value for key, value in entry.items()}
        for entry in recipe.document["datasets"]
    ]
    sections = {"model": recipe.model, "training": recipe.training, "retention": recipe.retention}
    return {**with_defaults(recipe.document, sections), "datasets": datasets}
