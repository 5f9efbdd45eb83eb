"""New files in, one file of forecasts out: a row for each series, window and step, in the targets' own units."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from pyarrow import fs

from data.errors import InputError
from data.prepared.new_data import NewData, read_new
from data.reading.file_format import SUFFIXES as SUFFIXES_OF_INPUT
from data.reading.file_format import suffix_of
from data.reading.files import absolute, file_bytes, is_uri, open_filesystem
from data.reading.find import find_files
from data.reading.settings import DatasetSource
from data.samples.new_part import NewPart, NewShard, run_new_task
from workflows.relay.failures import RunFailedError
from workflows.results.output_file import appearing, check_file
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

if TYPE_CHECKING:  # what is wrong with the input is told before torch is imported
    from workflows.results.prediction import Forecasts

Facts = dict[str, Any]
COLUMNS = ("series", "time", "step")
SUFFIXES = (".csv", ".csv.gz", ".parquet")  # of what is written
RAY_FROM_BYTES = 1 << 28  # of several files; one process reads as much in the seconds that Ray takes to start


def predict_files(store: Store, run: TrainedRun, dataset: str | None, path: str, output: str, every: bool) -> Facts:
    """Predict from the last window of each series in the files of `path`, or from `every` one, and write `output`.

    The files have the columns that the dataset was trained on, save its targets where they do not go in as features.
    Returns `series`, `windows`, `horizon`, `rows`, `output` and `warnings`. Raises InputError before anything is written.
    """
    place = run.place_of(dataset)
    path, output = absolute(path, Path.cwd()), absolute(output, Path.cwd())
    _check_output(output)
    files = find_files(path, run.sources[place].settings.format is not None)
    if output in files:
        raise InputError(f"--output {output}: this is one of the input files: name another")
    encoded = run.datasets[place]
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        source, folder = _read_as(run.sources[place], files), Path(scratch)
        new = read_new(files, encoded.prepared, source, encoded.encoding, folder, every, lambda tasks: _read(tasks, files))
        from workflows.results.prediction import make_forecaster

        forecaster = make_forecaster(store, run, place)
        quantiles = run.plan.model.quantiles if run.plan.model.loss == "quantile" else []
        schema = _schema(new, encoded.prepared.targets, bool(encoded.encoding.classes), quantiles)
        texts = [name for part in new.parts for name in part.names] + encoded.encoding.classes + schema.names
        with _writer(output, schema, texts) as write:
            for samples, forecasts in forecaster.walk(new.lengths, new.batch):
                write(_rows(new, samples, forecasts, encoded.prepared.horizon, schema))
        return {
            "series": sum(
                len(part.names) - len(part.short) - len(part.touched) - len(part.unobserved) for part in new.parts
            ),
            "windows": len(new),
            "horizon": encoded.prepared.horizon,
            "rows": len(new) * forecaster.shape[0],
            "output": output,
            "warnings": list(new.warnings()),
        }


def _read_as(source: DatasetSource, files: Sequence[str]) -> DatasetSource:
    """The source with the format of the training files, unless the names of the new files say another."""
    known = {SUFFIXES_OF_INPUT.get(suffix_of(file)) for file in files}
    if source.settings.format is None or None in known:
        return source
    return dataclasses.replace(source, settings=source.settings.model_copy(update={"format": None}))


def _read(tasks: list[list[NewShard]], files: Sequence[str]) -> list[list[NewPart]]:
    """In this process, or by Ray Data where there is so much to read that its start pays."""
    if len(tasks) == 1 or sum(file_bytes(file) for file in files) < RAY_FROM_BYTES:
        return [run_new_task(task) for task in tasks]
    from cluster.connect import connect, quiet
    from cluster.ray_compat import update_data_limits_often
    from data.prepared.running import run_with_ray

    connect(None)
    with quiet("ray.data"):
        update_data_limits_often()
        return run_with_ray(tasks, run_new_task)


def _check_output(output: str) -> None:
    if not output.lower().endswith(SUFFIXES):
        raise InputError(f"--output {output}: write a name that ends in one of {', '.join(SUFFIXES)}")
    if not is_uri(output):
        check_file("--output", output)


def _schema(new: NewData, targets: Sequence[str], classes: bool, quantiles: Sequence[float]) -> pa.Schema:
    """The columns of the output; a target that is named like one of the first three has `_forecast` behind its name."""
    own = [f"{name}_forecast" if name in COLUMNS else name for name in targets]
    own += [f"{name}_q{level:g}" for name in targets for level in quantiles]
    kinds = [pa.string(), new.time_type, pa.int64(), *[pa.string() if classes else pa.float32()] * len(own)]
    return pa.schema(list(zip([*COLUMNS, *own], kinds, strict=True)))


def _rows(new: NewData, samples: Any, forecasts: Forecasts, horizon: int, schema: pa.Schema) -> pa.RecordBatch:
    """One row for each window and step."""
    names, times = new.places(samples)
    steps = np.arange(1, horizon + 1) if horizon else np.zeros(1, np.int64)
    each = np.repeat(np.arange(len(samples)), len(steps))
    columns: list[Any] = [names[each], times.take(pa.array(each)), np.tile(steps, len(samples))]
    if forecasts.point.ndim == 1:
        columns.append(forecasts.point)
    else:
        columns += list(forecasts.point.reshape(len(each), -1).T.astype(np.float32))
    if forecasts.levels is not None:
        columns += list(forecasts.levels.reshape(len(each), -1).T.astype(np.float32))
    arrays = [pa.array(values).cast(field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


@contextlib.contextmanager
def _writer(output: str, schema: pa.Schema, texts: Sequence[str]) -> Iterator[Any]:
    """What writes record batches to a file that appears at its place only when all of it is there."""
    packed = "gzip" if output.lower().endswith(".gz") else None
    try:
        with (
            _uploaded(output) if is_uri(output) else appearing(output) as local,
            pa.output_stream(str(local), compression=packed) as sink,
            _format(output, sink, schema, texts) as writer,
        ):
            yield writer.write_batch
    except OSError as error:
        raise RunFailedError(f"{output}: it cannot be written ({error})") from None


@contextlib.contextmanager
def _uploaded(address: str) -> Iterator[Path]:
    """A place to write to; what is there at the end is sent to the address."""
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        local = Path(folder) / "output"
        yield local
        filesystem, inner = open_filesystem(address)
        fs.copy_files(str(local), inner, destination_filesystem=filesystem)


def _format(output: str, sink: Any, schema: pa.Schema, texts: Sequence[str]) -> Any:
    if output.lower().endswith(".parquet"):
        return pq.ParquetWriter(sink, schema)
    # Arrow quotes all texts or none, and the names of columns always.
    plain = not any(re.search(r'[",\r\n]', text) for text in texts)
    names = schema.names if plain else ['"' + name.replace('"', '""') + '"' for name in schema.names]
    sink.write((",".join(names) + "\n").encode())
    options = pacsv.WriteOptions(include_header=False, quoting_style="none" if plain else "needed")
    return pacsv.CSVWriter(sink, schema, write_options=options)
