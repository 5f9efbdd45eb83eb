"""Convert columns to text and mark empty cells as missing."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column as strings."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column if pa.types.is_string(column.type) else column.cast(pa.string())


def without_empty_texts(table: pa.Table, texts: Sequence[str]) -> pa.Table:
    """Return the table with None for each empty cell of the text columns."""
    for index, name in enumerate(table.column_names):
        column = table.column(index)
        if name in texts and pa.types.is_string(column.type):
            # Empty cells and leading white space sort before "!" or are not ASCII: most columns need no closer look.
            if not pc.any(pc.or_(pc.less(column, "!"), pc.greater_equal(column, "\x80"))).as_py():
                continue
            empty = pc.equal(pc.utf8_trim_whitespace(column), "")
            if pc.any(empty).as_py():
                table = table.set_column(index, name, pc.if_else(empty, pa.scalar(None, pa.string()), column))
    return table
