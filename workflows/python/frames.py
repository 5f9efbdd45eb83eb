"""Convert frames of pandas, polars and Arrow to Arrow tables and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data.errors import IN_RECIPE, InputError

TEXTS = (pa.types.is_large_string, pa.types.is_string_view)


def is_frame(data: Any) -> bool:
    """Return whether this is a frame: pandas, polars (DataFrame, LazyFrame), or an Arrow table or batch."""
    return isinstance(data, (pa.Table, pa.RecordBatch)) or _library(data) in ("pandas", "polars")


def _library(data: Any) -> str:
    kind = type(data)
    return kind.__module__.split(".")[0] if kind.__name__ in ("DataFrame", "LazyFrame") else ""


def table_of(frame: Any, label: str, wanted: Sequence[str] | None = None) -> pa.Table:
    """Return a frame as an Arrow table that depends only on its content, not on its library.

    Texts become strings, dates microseconds, whole numbers 64 bits, NaN null. A named or time index of pandas becomes
    columns; a time without a name is called `ds`. `wanted` selects columns. Raises InputError, beginning with `label`, for
    a column of mixed types.
    """
    if _library(frame) == "pandas":
        frame = _with_index(frame)
        names = [name for name in frame.columns if wanted is None or str(name) in wanted]
        columns = {str(name): _of_pandas(frame[name], f"{label}, column {str(name)!r}") for name in names}
        _check_names([str(name) for name in names], label)
        return pa.table({name: _plain(pa.chunked_array([column])) for name, column in columns.items()})
    if _library(frame) == "polars":
        frame = frame.collect() if type(frame).__name__ == "LazyFrame" else frame
        table = frame.to_arrow()
    else:
        table = frame if isinstance(frame, pa.Table) else pa.Table.from_batches([frame])
    _check_names(table.column_names, label)
    names = [name for name in table.column_names if wanted is None or name in wanted]
    return pa.table({name: _plain(table.column(name)) for name in names})


def _check_names(names: Sequence[str], label: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{label}: the column name {twice[0]!r} occurs twice: give each column a unique name")


def _with_index(frame: Any) -> Any:
    """Return the frame with the meaningful levels of its index as columns."""
    index = frame.index
    if index.nlevels == 1 and index.name is None and "datetime" not in type(index).__name__.lower():
        return frame.reset_index(drop=True)
    if index.nlevels == 1 and index.name is None:
        index = index.rename("ds")
    return frame.set_axis(index, axis=0).reset_index()


def _of_pandas(column: Any, where: str) -> pa.Array:
    if str(column.dtype).startswith("period"):
        column = column.dt.to_timestamp()
    try:
        array = pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{where}: values of several types ({reason}): convert them to one type, or leave the column out"
        ) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """Return the column with a type that does not depend on the library."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if any(is_text(kind) for is_text in TEXTS):
        column = column.cast(pa.string())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us"))
    elif pa.types.is_integer(kind) and not column.null_count:
        with contextlib.suppress(pa.ArrowInvalid):  # unsigned numbers beyond 63 bits
            column = column.cast(pa.int64())
    elif pa.types.is_floating(kind) or pa.types.is_integer(kind):
        bits = np.float32 if pa.types.is_float32(kind) or pa.types.is_float16(kind) else np.float64
        return pa.array(np.asarray(column.to_numpy(), bits), from_pandas=True)
    return column.combine_chunks() if column.num_chunks else pa.array([], column.type)


def schema_of(frame: Any, table: pa.Table) -> pa.Schema:
    """Return the types of a frame's columns in its library; for pandas those of `table`, which join equally well."""
    if _library(frame) == "polars":
        return frame.head(0).lazy().collect().to_arrow().schema
    return table.schema if _library(frame) == "pandas" else frame.schema


def like(frame: Any, table: pa.Table) -> Any:
    """Return a table as a frame of the same library as `frame`."""
    if _library(frame) == "pandas":
        return table.to_pandas()
    if _library(frame) == "polars":
        import polars

        return polars.from_arrow(table)
    return table


@contextlib.contextmanager
def as_files(tables: dict[str, pa.Table], folder: Path, called: Callable[[str], str]) -> Iterator[dict[str, str]]:
    """Write tables as Arrow files by name, for code that reads files; errors name `called(name)` instead of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: str(folder / f"{name}.arrow") for name in tables}
    for name, table in tables.items():
        with pa.OSFile(paths[name], "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    try:
        yield paths
    except InputError as error:
        raise InputError(
            [_of_frame(message, {path: called(name) for name, path in paths.items()}) for message in error.messages]
        ) from None


def _of_frame(message: str, called: dict[str, str]) -> str:
    for path, name in called.items():
        message = message.replace(path, name)
    return message.replace(f" {IN_RECIPE}", " as a keyword").replace("--dataset", "dataset=...")
