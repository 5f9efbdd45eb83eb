"""The datasets of a recipe: entries that name many become one each, with their files found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from data.errors import InputError
from data.reading.files import FileFacts, absolute, find_files, stem
from data.reading.read import FILE_AS_SERIES, distinct_values
from data.reading.settings import DatasetSource
from workflows.recipe.recipe import Entry, Recipe, name_problems

BUILT_IN_DATA = "{built_in}"


def find_datasets(recipe: Recipe, facts: FileFacts, built_in: str | Path) -> tuple[list[DatasetSource], list[int]]:
    """Every dataset with its files, and its epochs; raises InputError with all that is wrong.

    {file} in an entry's name makes a dataset of each matching file, {COLUMN} of each distinct value of a column, in
    sorted order. `facts` remembers the values of columns of files that have not changed; a path that begins with
    {built_in} lies in the place of the data that the project makes itself.
    """
    sources: list[DatasetSource] = []
    epochs: list[int] = []
    problems: list[str] = []
    for number, entry in enumerate(recipe.entries, 1):
        try:
            found = _expand(entry, recipe, facts, built_in)
        except InputError as error:
            template = re.search(r"\{[^{}]*\}", entry.keys.name)  # no dataset's name yet
            whose = f"[[datasets]] {number} (name = {entry.keys.name!r})" if template else f"dataset {entry.keys.name!r}"
            problems += [f"{whose}: {message}" for message in error.messages]
            continue
        sources += found
        epochs += [entry.keys.epochs or recipe.training.epochs] * len(found)
    for number, source in enumerate(sources):
        problems += [f"dataset {problem}" for problem in name_problems(source.name)]
        if source.name in [other.name for other in sources[:number]]:
            problems.append(f"dataset {source.name!r}: there are two of this name: give each a name of its own")
    problems = problems or decay_problems(recipe.training.decay_rate, len(sources))
    if problems:
        raise InputError(problems)
    return sources, epochs


def decay_problems(decay: float | list[float], count: int) -> list[str]:
    """What is wrong with the decay rates for so many datasets."""
    if not isinstance(decay, list) or len(decay) == count - 1:
        return []
    return [
        f"training.decay_rate has {len(decay)} rates, {count} datasets have {count - 1} changes: write one for each change, "
        "or one number for all"
    ]


def _expand(entry: Entry, recipe: Recipe, facts: FileFacts, built_in: str | Path) -> list[DatasetSource]:
    files = _find(entry.keys.path, recipe, built_in)
    test_files = _find(entry.keys.test_path, recipe, built_in) if entry.keys.test_path else []
    classes = recipe.model.loss == "cross_entropy"
    both = sorted(set(files) & set(test_files))
    if both:
        raise InputError(f"{both[0]} stands in path and in test_path: a model is not tested on what it was trained on")
    if entry.settings.series == FILE_AS_SERIES:
        stems = [stem(file) for file in files]
        twice = [file for file in files if stems.count(stem(file)) > 1]
        if twice:
            raise InputError(
                f'{twice[0]} and {twice[1]} have the same name, by which series = "{{file}}" tells them apart: rename '
                "one, or give each folder an entry of its own"
            )
    template = entry.keys.name
    fields = re.findall(r"\{([^{}]*)\}", template)
    columns = [name for name in fields if name != "file"]
    if len(set(columns)) > 1:
        raise InputError(f"its name has the columns {', '.join(columns)}: name one column, or {{file}}")
    groups = [([file], stem(file)) for file in files] if "file" in fields else [(files, "")]
    found = []
    for group, file_stem in groups:
        name = template.replace("{file}", file_stem)
        values = _values_of(group, columns[0], entry.settings.delimiter, facts) if columns else [None]
        for value in values:
            where = {} if value is None else {columns[0]: value}
            full_name = name if value is None else name.replace(f"{{{columns[0]}}}", value)
            found.append(DatasetSource(full_name, tuple(group), entry.settings, tuple(test_files), where, classes))
    return found


def _find(paths: str | list[str], recipe: Recipe, built_in: str | Path) -> list[str]:
    found: list[str] = []
    for path in [paths] if isinstance(paths, str) else paths:
        place = path.replace(BUILT_IN_DATA, str(built_in))
        found += find_files(absolute(place, recipe.folder))
    return list(dict.fromkeys(found))


def _values_of(files: list[str], column: str, delimiter: str, facts: FileFacts) -> list[str]:
    values: set[str] = set()
    for file in files:
        fact = f"values of {column}"
        known = facts.get(file, fact)
        if not isinstance(known, list):
            known = distinct_values(file, column, delimiter)
            facts.put(file, fact, known)
        values.update(known)
    if not values:
        raise InputError(f"the column {column!r} is empty in all of its files, so it names no dataset")
    return sorted(values)


def movable(recipe: Recipe) -> dict[str, Any]:
    """The document of a recipe with absolute paths, so that it means the same in any folder."""

    def moved(paths: Any) -> Any:
        if isinstance(paths, list):
            return [moved(path) for path in paths]
        return paths if BUILT_IN_DATA in paths else absolute(paths, recipe.folder)

    datasets = [
        {key: moved(value) if key in ("path", "test_path") else value for key, value in entry.items()}
        for entry in recipe.document["datasets"]
    ]
    return {**recipe.document, "datasets": datasets}
