"""The records of epochs and evaluations in the store, as frozen values, and their JSON.

They only have values that are the same for every run with this address. The dataset's name, the number of the stage and
the planned epochs belong to the run: two runs can reach the same epoch in different positions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.errors import InputError
from data.records import DamagedRecordError, from_json, to_json
from models.metrics import METRICS
from workflows.store.measures import ForecastMeasures

# Of facts.json. Version 0 (up to commit 6e35f09) also had the names and numbers of the run that trained the epoch.
# Version 2 has heads in other checkpoints, which an earlier program would read as zero; other records have version 1.
RECORD_VERSION = 2
PLAIN_VERSION = 1
# Raised when an evaluation has new measures other than a metric of models.metrics: stored ones of a lower version are
# computed again. 2: with the loss. 3: with the measures of forecasts, by step and relative to the season.
METRICS_VERSION = 3


@dataclass(frozen=True)
class FileRecord:
    """A file of a checkpoint: its length, its SHA-256, and its name in the checkpoint's folder."""

    bytes: int
    sha256: str
    name: str


def file_record(content: bytes, name: str) -> FileRecord:
    """Return the record of a file with this content."""
    return FileRecord(len(content), hashlib.sha256(content).hexdigest(), name)


@dataclass(frozen=True)
class EpochRecord:
    """facts.json of a checkpoint: how the state `key` was made from the state `parent`.

    An untrained state has no parent, and its numbers are 0. `learning_rate` is the rate of the last step. `seconds`,
    `workers` and `when` describe how this checkpoint was made, `rows_checked` whether its train rows were compared with
    the hashes that preparation wrote (False for earlier versions). `heads` has the head corrections that did not change
    and so are not in this checkpoint's files: the dataset's number, and the key of the earlier checkpoint that has it.
    """

    key: str
    parent: str | None
    learning_rate: float = 0.0
    first_learning_rate: float = 0.0
    train_loss: float = 0.0
    samples: int = 0
    seconds: float = 0.0
    workers: int = 0
    when: float = 0.0
    rows_checked: bool = False
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    version: int = PLAIN_VERSION
    heads: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of facts.json, before it is sealed."""
        content = dataclasses.asdict(self)
        return content if self.heads else {key: value for key, value in content.items() if key != "heads"}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> EpochRecord:
        """Return the record of a facts.json of this version or an earlier one.

        Raises InputError for a later version; KeyError, TypeError or ValueError for invalid content.
        """
        version = int(content.get("version", 0))
        if version > RECORD_VERSION:
            raise InputError(
                f"checkpoint {content.get('key')}: facts.json has version {version}, this program reads up to "
                f"{RECORD_VERSION}: update lstm-relay"
            )
        files = {
            name: FileRecord(int(each["bytes"]), str(each["sha256"]), str(each.get("name", name)))
            for name, each in content["files"].items()
        }
        heads = {str(number): str(key) for number, key in content.get("heads", {}).items()}
        field_names = {each.name for each in dataclasses.fields(EpochRecord)} - {"files", "version", "heads"}
        return EpochRecord(
            **{key: content[key] for key in field_names & set(content)}, files=files, version=version, heads=heads
        )


@dataclass(frozen=True)
class Errors:
    """The errors of one state on one split of one dataset. Models are compared by `error`.

    Each loss names its error in models.loss_table; errors of numbers are in scaled units. `by_target` has the metrics of
    models.metrics by name, each with one number for each target in the target's unit. `loss` is the loss of the model's
    settings over the samples of known classes; None if it is not finite, or was not measured (version 1). `forecasts` has
    further measures (from version 3). If samples have weights, `weighted_error` and `weighted_loss` are the weighted means;
    `error` and `loss` weigh all samples equally. Classes only have `error`, `loss`, `samples` and weighted means.
    """

    error: float
    samples: int
    loss: float | None = None
    mse: float | None = None
    mae: float | None = None
    by_target: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    forecasts: ForecastMeasures | None = None
    weighted_error: float | None = None
    weighted_loss: float | None = None
    version: int = METRICS_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the JSON of an evaluation: the metrics of targets beside the others, under their names."""
        content = to_json(self)
        metrics = content.pop("by_target")
        return {key: value for key, value in {**content, **metrics}.items() if value is not None}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Errors:
        """Return the errors that `to_json` wrote, of this version or another: unknown measures are left out."""
        field_names = {each.name for each in dataclasses.fields(Errors)} - {"by_target"}
        values: dict[str, Any] = {"version": 2 if "loss" in content else 1}
        values |= {key: value for key, value in content.items() if key in field_names}
        values["by_target"] = {name: tuple(content[name]) for name in METRICS if content.get(name) is not None}
        try:
            return from_json(Errors, values)
        except DamagedRecordError as error:
            raise ValueError(str(error)) from None

    @property
    def measures(self) -> tuple[int, tuple[str, ...]]:
        """Return the measures as a sortable value: the version, and the metrics added to models.metrics since version 3."""
        return self.version, tuple(sorted(self.by_target.keys() - {"mae_units", "rmse_units"}))

    @property
    def is_current(self) -> bool:
        """Return whether the evaluation has all measures of this version."""
        return self.version >= METRICS_VERSION and (not self.by_target or self.by_target.keys() >= METRICS.keys())


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return JSON that contains its own hash, so that any change is detected."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"content": content, "sha256": digest}, indent=1).encode()


def unsealed(written: bytes) -> dict[str, Any] | None:
    """Return the content of sealed JSON; None if it was changed."""
    try:
        document = json.loads(written)
        content: dict[str, Any] = document["content"]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return content if digest == document["sha256"] and isinstance(content, dict) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
