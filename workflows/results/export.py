"""Export a trained model for other programs: torch.export or ONNX, with a JSON that describes its inputs."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch.export import Dim, ExportedProgram

from data.errors import InputError
from data.records import Json
from data.writing import appearing
from models.scans import scanned, scanned_carry
from workflows.results.output_file import check_file
from workflows.results.prediction import make_forecaster
from workflows.results.raw_model import RawModel
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

SUFFIXES = (".pt2", ".onnx")
FORMAT = 1  # of the JSON


def raw_model(store: Store, run: TrainedRun, dataset: str | None = None) -> RawModel:
    """Return the final model of a run for rows of one dataset, on the CPU; raises InputError if it must be named."""
    index = index_of(run, dataset)
    forecaster = make_forecaster(store, run, index)
    return RawModel(forecaster.model.cpu(), run.datasets[index], run.plan.head_of(index))


def index_of(run: TrainedRun, dataset: str | None) -> int:
    """Return the index of a dataset; it is optional if all datasets share one scaling and one head."""
    first, *others = [(each.encoding.center, each.encoding.scale, each.encoding.fill) for each in run.datasets]
    alike = all(each == first for each in others) and not run.plan.model.dataset_heads
    return 0 if dataset is None and alike else run.index_of(dataset)


@dataclass(frozen=True)
class ExportedModel:
    """The paths of an exported model and of the JSON that describes it, with the content of the latter."""

    output: str
    description: str
    content: Json

    def names(self, kind: Literal["inputs", "outputs"]) -> list[str]:
        """Return the names of the model's inputs or outputs."""
        return [each["name"] for each in self.content[kind]]

    def to_json(self) -> Json:
        """Return the content with both paths."""
        return {**self.content, "output": self.output, "description": self.description}


def export_model(store: Store, run: TrainedRun, output: str, dataset: str | None = None) -> ExportedModel:
    """Write the model of a run to a .pt2 or .onnx file, and a JSON that describes its inputs and outputs.

    Raises InputError before anything is written.
    """
    target = Path(output)
    if target.suffix not in SUFFIXES:
        raise InputError(f"--output {output}: write a name that ends in {' or '.join(SUFFIXES)}")
    description = target.with_suffix(".json")
    for path in (target, description):
        check_file("--output", str(path))
    if target.suffix == ".onnx":
        _check_onnx()
    index = index_of(run, dataset)
    model = raw_model(store, run, run.datasets[index].name)
    content = {
        "format": FORMAT,
        "run": run.name,
        "key": run.key,
        "dataset": run.datasets[index].name,
        **_settings(run, index),
    }
    content |= model.describe()
    program = exported(model)
    with appearing(str(target)) as local:
        if target.suffix == ".onnx":
            _write_onnx(program, model, Path(local))
        else:
            buffer = io.BytesIO()  # torch requires a name that ends in .pt2
            with _quiet("torch._export"):  # of lists without entries
                torch.export.save(program, buffer)
            Path(local).write_bytes(buffer.getbuffer())
    with appearing(str(description)) as local:
        Path(local).write_text(json.dumps(content, indent=1) + "\n")
    return ExportedModel(str(target), str(description), content)


def exported(model: RawModel) -> ExportedProgram:
    """Return the program of a model, for any number of windows and any number of steps."""
    portable = copy.deepcopy(model)
    portable.model, portable.carry = scanned(model.model), scanned_carry
    batch, length = Dim("batch", min=1), Dim("length", min=1)
    example = portable.example(3, 5)
    shapes = {name: {0: batch} if name == "future" else {0: batch, 1: length} for name in example}
    with torch.no_grad(), _quiet("torch.export"):
        return torch.export.export(portable, (), kwargs=example, dynamic_shapes=shapes, strict=False)


def _settings(run: TrainedRun, index: int) -> Json:
    """Return what describes the rows of a window, beside their columns."""
    settings = run.datasets[index].prepared.settings
    longest = None if settings.lookback == "all" else settings.lookback
    return {
        "length": {"shortest": settings.shortest_history, "longest": longest},
        "frequency": settings.frequency,
        "time_zone": settings.time_zone,
    }


def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401 torch's exporter imports both
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise InputError(
            f"--output: .onnx files need {error.name}: pip install 'lstm-relay[export]', or write .pt2"
        ) from None


def _write_onnx(program: ExportedProgram, model: RawModel, path: Path) -> None:
    with _quiet("torch.onnx"):  # it warns of packages that our models do not need
        program_file = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            optimize=False,
            input_names=model.input_names,
            output_names=model.output_names,
        )
    assert program_file is not None
    program_file.save(str(path))


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Suppress warnings from inside a part of torch."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
