"""Forecast new files and write one output file."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from data.errors import InputError
from data.reading.files import absolute, file_bytes, is_uri, open_filesystem
from data.reading.find import find_files
from data.samples.new_part import NewPart, NewShard, run_new_task
from data.writing import appearing, upload
from workflows.relay.failures import RunFailedError
from workflows.results.forecast_rows import Wanted, forecasts_of
from workflows.results.new_rows import shares_of
from workflows.results.output_file import check_file
from workflows.results.trained import TrainedRun
from workflows.store.store import Store

SUFFIXES = (".csv", ".csv.gz", ".parquet")  # of the output
RAY_FROM_BYTES = 1 << 28  # one process reads this much while Ray would start


@dataclass(frozen=True)
class Predicted:
    """A written file: `windows` forecasts of `horizon` steps for `series` series, as `rows` rows in the file `output`."""

    series: int
    windows: int
    horizon: int
    rows: int
    output: str
    warnings: tuple[str, ...]


def predict_files(
    store: Store,
    run: TrainedRun,
    dataset: str | None,
    path: str,
    output: str,
    every: bool = False,
    probabilities: bool = False,
) -> Predicted:
    """Forecast from the last window (or from `every` window) of each series in the files of `path`, and write `output`.

    The files need the columns of the dataset, except targets that are not features. Without `dataset`, a column or the
    file names assign each row to a dataset, and the output has a column for it. Raises InputError before writing anything.
    """
    path, output = absolute(path, Path.cwd()), absolute(output, Path.cwd())
    _check_output(output)
    files = find_files(path, any(source.settings.format is not None for source in run.sources))
    if output in files or os.path.realpath(output) in {os.path.realpath(file) for file in files if not is_uri(file)}:
        raise InputError(f"--output {output}: this is one of the input files: name another")
    wanted = Wanted(every, probabilities, dataset is None and len(run.datasets) > 1)
    with forecasts_of(store, run, shares_of(run, dataset, files), wanted, _read) as table:
        rows = 0
        with _writer(output, table.schema, table.texts) as write:
            for batch in table.batches():
                write(batch)
                rows += batch.num_rows
        return Predicted(table.series, table.windows, table.horizon, rows, output, tuple(table.warnings))


def _read(tasks: list[list[NewShard]], files: Sequence[str]) -> list[list[NewPart]]:
    """Read the rows in this process, or by Ray Data if they are large enough to be worth its start."""
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


@contextlib.contextmanager
def _writer(output: str, schema: pa.Schema, texts: Sequence[str]) -> Iterator[Any]:
    """Yield a writer of record batches to a file that appears only when it is complete."""
    packed = "gzip" if output.lower().endswith(".gz") else None
    try:
        with (
            _uploaded(output) if is_uri(output) else appearing(output) as local,
            pa.output_stream(str(local), compression=packed) as sink,
            _format(output, sink, schema, texts) as writer,
        ):
            yield writer.write_batch
    except OSError as error:
        raise RunFailedError(f"{output}: cannot be written ({error})") from None


@contextlib.contextmanager
def _uploaded(address: str) -> Iterator[Path]:
    """Yield a local path; its content is then uploaded to the address."""
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
        local = Path(folder) / "output"
        yield local
        filesystem, inner = open_filesystem(address)
        upload(local, filesystem, inner)


def _format(output: str, sink: Any, schema: pa.Schema, texts: Sequence[str]) -> Any:
    if output.lower().endswith(".parquet"):
        return pq.ParquetWriter(sink, schema)
    # Arrow quotes all texts or none, and always the column names.
    plain = not any(re.search(r'[",\r\n]', text) for text in texts)
    names = schema.names if plain else ['"' + name.replace('"', '""') + '"' for name in schema.names]
    sink.write((",".join(names) + "\n").encode())
    options = pacsv.WriteOptions(include_header=False, quoting_style="none" if plain else "needed")
    return pacsv.CSVWriter(sink, schema, write_options=options)
