"""runs/NAME/run.json: the result of a run with its recipe and datasets, in one file.

This is the one place where JSON passes between the store and the values of workflows/results.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data.errors import InputError
from data.records import DamagedRecordError, Json
from data.signed import read_signed, signed
from workflows.store.storage import Storage

RUN = "run.json"
RESULT, RECIPE, DATASETS = "result.json", "recipe.toml", "datasets.json"  # readable copies of its parts
MAX_COPIES = 5  # times that copies are rewritten because another command published the same run
RUN_VERSION = 1  # of run.json
# Keys that a record must have, with their types.
NEEDED: Mapping[str, Mapping[str, Any]] = {
    RESULT: {"name": str, "status": str, "key": str, "datasets": list, "stages": list, "epochs_requested": int},
    "progress.json": {"status": str, "key": str, "datasets": list, "epochs_requested": int, "when": (int, float)},
    "search.json": {"status": str, "key": (str, type(None)), "trials": list, "epochs_requested": int},
    "searching.json": {"status": str, "trials_asked": int, "trials_ended": int, "when": (int, float)},
}


@dataclass(frozen=True)
class RunRecord:
    """The result of a run (result.json), the recipe as TOML text, and the descriptions of its datasets.

    A part is None only in a run of an earlier version that has lost its file.
    """

    result: Json
    recipe: str | None
    datasets: list[Json] | None


def publish_run(storage: Storage, name: str, record: RunRecord) -> None:
    """Write the record of a run atomically, then the readable copies of its parts.

    The last writer wins: nothing reads the copies of a run that has run.json.
    """
    content = {"version": RUN_VERSION, "recipe": record.recipe, "datasets": record.datasets, "result": record.result}
    replace_file(storage, f"runs/{name}/{RUN}", signed(content))
    for _ in range(MAX_COPIES):
        for file, copy in copies_of(record).items():
            replace_file(storage, f"runs/{name}/{file}", copy)
        standing = None
        with contextlib.suppress(OSError, DamagedRecordError):
            standing = read_run(storage, name)
        if standing is None or standing.result == json.loads(json.dumps(record.result)):
            return
        record = standing  # another command has published meanwhile: the last copies written are those of the valid record


def mend_copies(storage: Storage, name: str) -> None:
    """Write those copies anew that are not of the run's record, as a command leaves them that ends between the two."""
    record = read_run(storage, name) if RUN in storage.names(f"runs/{name}") else None
    for file, copy in copies_of(record).items() if record is not None else ():
        same = False
        with contextlib.suppress(OSError):
            same = storage.read(f"runs/{name}/{file}") == copy
        if not same:
            replace_file(storage, f"runs/{name}/{file}", copy)


def copies_of(record: RunRecord) -> dict[str, bytes]:
    """Return the readable files of a record, by name."""
    copies = {RESULT: json.dumps(record.result, indent=1).encode()}
    if record.recipe is not None:
        copies[RECIPE] = record.recipe.encode()
    if record.datasets is not None:
        copies[DATASETS] = json.dumps(record.datasets, indent=1).encode()
    return copies


def replace_file(storage: Storage, path: str, content: bytes) -> None:
    """Write a file; a folder in its place is set aside first."""
    try:
        storage.write(path, content)
    except IsADirectoryError:
        import uuid

        aside = f"damaged/{path.replace('/', '-')}-{uuid.uuid4().hex[:8]}"
        storage.withdraw(path, aside, ())
        storage.write(f"{aside}/why.txt", f"a folder was in the place of {path}\n".encode())
        storage.write(path, content)


def read_run(storage: Storage, name: str) -> RunRecord | None:
    """Return the record of a run that has ended at least once; None if there is none.

    A run of an earlier version has three files instead of one. Raises DamagedRecordError for a changed file.
    """
    content = read_record(storage, f"runs/{name}/{RUN}")
    if content is not None:
        version = content.get("version")
        if isinstance(version, int) and version > RUN_VERSION:
            raise InputError(f"runs/{name}/{RUN} has version {version}, this program reads up to {RUN_VERSION}: update it")
        result, datasets, recipe = content.get("result"), content.get("datasets"), content.get("recipe")
        if not isinstance(result, dict) or not isinstance(datasets, list) or not isinstance(recipe, str):
            raise DamagedRecordError(f"runs/{name}/{RUN} lacks `result`, `datasets` or `recipe`")
        return RunRecord(_checked(result, RESULT, f"runs/{name}/{RUN}"), recipe, datasets)
    result = read_record(storage, f"runs/{name}/{RESULT}")
    return None if result is None else RunRecord(result, *_old_parts(storage, name))


def _old_parts(storage: Storage, name: str) -> tuple[str | None, list[Json] | None]:
    recipe = datasets = None
    with contextlib.suppress(FileNotFoundError):
        recipe = _read(storage, f"runs/{name}/{RECIPE}").decode(errors="replace")
    with contextlib.suppress(FileNotFoundError):
        datasets = datasets_from(_read(storage, f"runs/{name}/{DATASETS}"), f"runs/{name}/{DATASETS}")
    return recipe, datasets


def datasets_from(written: bytes, path: str) -> list[Json]:
    """Return the descriptions of datasets in a file's content; raises DamagedRecordError if they are not valid."""
    try:
        datasets = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise DamagedRecordError(f"{path}: {error}") from None
    needed = {"name": str, "prepared": str, "settings": dict, "encoding": dict, "epochs": int, "where": object}
    for each in datasets if isinstance(datasets, list) else [datasets]:
        wrong = [key for key, kind in needed.items() if not isinstance(each, dict) or not isinstance(each.get(key), kind)]
        if wrong or not isinstance(datasets, list):
            raise DamagedRecordError(f"{path} is no list of datasets with {', '.join(needed)}")
    descriptions: list[Json] = datasets
    return descriptions


def read_record(storage: Storage, path: str) -> Json | None:
    """Return a record of a run or a search; None if there is no file. Raises DamagedRecordError."""
    try:
        content = read_signed(_read(storage, path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedRecordError(f"{path}: {error}") from None
    return _checked(content, path.rpartition("/")[2], path)


def _read(storage: Storage, path: str) -> bytes:
    try:
        return storage.read(path)
    except IsADirectoryError:
        raise DamagedRecordError(f"{path}: a folder, or a link to nothing, is in the place of the file") from None


def _checked(content: Json, kind: str, path: str) -> Json:
    wrong = [key for key, types in NEEDED.get(kind, {}).items() if not isinstance(content.get(key), types)]
    wrong += [] if isinstance(content.get("when", 0.0), (int, float)) else ["when"]
    if kind == RESULT and not wrong and not all(isinstance(s, dict) and "keys" in s for s in content["stages"]):
        wrong = ["stages"]
    if wrong:
        raise DamagedRecordError(f"{path}: `{wrong[0]}` is missing or of another type")
    return content
