"""The identity of a training in trackers such as MLflow, and the files to attach."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any

from workflows.results.run_result import RunResult
from workflows.results.stored_runs import stored_result
from workflows.store.store import Store

FILE = "trackers.json"  # in the run's folder
ARTIFACTS = ("recipe.toml", "result.json", "report.html")


class Tracked:
    """One training in the trackers: a call that resumes it continues its run there.

    The same name with another recipe is another training. A training does not depend on this file.
    """

    def __init__(self, store: Store, name: str, document: Mapping[str, Any]):
        self.store, self.name, self.document = store, name, document
        self.begun = time.time()
        decided_by = {key: value for key, value in document.items() if key not in ("logging", "compute")}
        self.recipe = hashlib.sha256(json.dumps(decided_by, sort_keys=True, default=str).encode()).hexdigest()

    def id_of(self, tracker: str) -> str | None:
        """Return the id of this training in a tracker; None if it has none."""
        entry = self._read().get(tracker, {})
        return entry.get("id") if entry.get("recipe") == self.recipe else None

    def keep(self, tracker: str, run_id: str) -> None:
        """Store the id of this training in a tracker."""
        content = self._read() | {tracker: {"id": run_id, "recipe": self.recipe}}
        self.store.write_run(self.name, FILE, json.dumps(content, indent=1).encode())

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(self.store.storage.read(f"runs/{self.name}/{FILE}"))
            return content if isinstance(content, dict) else {}
        return {}

    @property
    def finished(self) -> bool:
        """Return whether the result of this call is in the store."""
        return self._result() is not None

    def _result(self) -> RunResult | None:
        result = stored_result(self.store, self.name)
        return result if result is not None and result.when >= self.begun else None

    def parameters(self) -> dict[str, Any]:
        """Return the values of the recipe by dotted keys, as `--set` takes them."""
        by_key: dict[str, Any] = {}
        for section, values in self.document.items():
            if isinstance(values, Mapping):
                by_key |= {f"{section}.{key}": value for key, value in values.items()}
            elif section == "datasets":
                by_key["datasets"] = len(values)
            else:
                by_key[section] = values
        return by_key

    def artifacts(self) -> dict[str, bytes]:
        """Return the files of this call to attach, with the error matrix as a table; none before it has ended."""
        result = self._result()
        if result is None:
            return {}
        contents = {}
        for file in ARTIFACTS:
            with contextlib.suppress(OSError):
                contents[file] = self.store.storage.read(f"runs/{self.name}/{file}")
        matrix = result.error_matrix
        if matrix.validation:
            rows = [["after", *matrix.datasets]]
            rows += [
                [name, *("" if value is None else repr(value) for value in row)]
                for name, row in zip(matrix.after, matrix.validation, strict=True)
            ]
            contents["error_matrix.csv"] = "".join(",".join(map(_quoted, row)) + "\n" for row in rows).encode()
        return contents


def _quoted(cell: str) -> str:
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if any(letter in cell for letter in ',"\n') else cell
