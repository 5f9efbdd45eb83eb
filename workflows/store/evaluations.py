"""evaluations/KEY/*.json: the errors of a state, by the hash of the split, with the version of the metrics.

A file has the errors of one evaluation. Its name is a hash of the splits and the metrics, so if two processes evaluate
the same, the first file stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping

from workflows.store.kept import Errors, sealed, unsealed
from workflows.store.storage import Storage


def keep_evaluations(storage: Storage, key: str, errors: Mapping[str, Errors]) -> None:
    """Store errors of a state; a damaged file of the same name is replaced, a valid one stays."""
    if not errors:
        return
    measures = {" ".join((f"v{version}", *metrics)) for version, metrics in (each.measures for each in errors.values())}
    decided_by = [*sorted(errors), *sorted(measures)]
    name = hashlib.sha256(" ".join(decided_by).encode()).hexdigest()[:16]
    content = {"when": time.time(), "errors": {split: each.to_json() for split, each in errors.items()}}
    path = f"evaluations/{key}/{name}.json"
    if storage.create_file(path, sealed(content)) or _read(storage, path) is not None:
        return
    if path_is_folder(storage, path):
        storage.remove(path)
    storage.write(path, sealed(content))


def kept_evaluations(storage: Storage, key: str, old: bool) -> tuple[dict[str, Errors], list[str]]:
    """Return the errors of a state by split, and the names of damaged files.

    Of several evaluations of a split the latest version counts, then the one with more metrics, then the first. `old`:
    version 6e35f09 stored them in the checkpoint's folder, without a version number (1).
    """
    files = [f"evaluations/{key}/{name}" for name in storage.names(f"evaluations/{key}") if not name.startswith(".")]
    if old:
        folder = f"checkpoints/{key}"
        files = [f"{folder}/{name}" for name in storage.names(folder) if name.startswith("evaluations-")] + files
    read = {path: _read(storage, path) for path in files}
    errors_of: dict[str, Errors] = {}
    for _, errors in sorted((each for each in read.values() if each is not None), key=lambda each: each[0]):
        for split, each in errors.items():
            if split not in errors_of or errors_of[split].measures < each.measures:
                errors_of[split] = each
    return errors_of, [path.rpartition("/")[2] for path, each in read.items() if each is None]


def is_evaluation(storage: Storage, path: str) -> bool:
    """Return whether a file is an intact evaluation, or has just been removed."""
    return _read(storage, path) is not None


def path_is_folder(storage: Storage, path: str) -> bool:
    """Return whether the path is a folder instead of a file."""
    try:
        storage.read(path)
    except IsADirectoryError:
        return True
    except OSError:
        return False
    return False


def _read(storage: Storage, path: str) -> tuple[float, dict[str, Errors]] | None:
    """Return the Unix time of an evaluation and its errors; None if the file is damaged. A missing file has no errors."""
    try:
        content = unsealed(storage.read(path))
    except FileNotFoundError:
        return 0.0, {}
    except IsADirectoryError:
        return None
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        if content is not None:
            errors = content["errors"] if "when" in content else content
            return float(content.get("when", 0.0)), {k: Errors.from_json(each) for k, each in errors.items() if each}
    return None
