"""Reductions of columns and the search for empty texts give the same bits as NumPy and Python."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.columnwise import of_columns
from data.reading.texts import without_empty_texts


@given(st.integers(1, 700), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]))
def test_extremes_are_those_of_a_plain_reduction(rows: int, columns: int, seed: int, kind: type) -> None:
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns)).astype(kind)
    values[random.random((rows, columns)) < 0.3] = np.nan
    values[:, 0] = np.nan
    for operation in (np.fmin, np.fmax, np.minimum, np.maximum):
        np.testing.assert_array_equal(of_columns(operation, values), operation.reduce(values, axis=0))
        np.testing.assert_array_equal(of_columns(operation, values[::2]), operation.reduce(values[::2], axis=0))
    absent = np.isnan(values)
    np.testing.assert_array_equal(of_columns(np.logical_and, absent), absent.all(axis=0))
    np.testing.assert_array_equal(of_columns(np.logical_or, absent), absent.any(axis=0))


def test_no_rows_have_no_smallest_value_but_all_of_them_are_missing() -> None:
    none = np.empty((0, 3), np.float32)
    with pytest.raises(ValueError, match="zero-size"):
        of_columns(np.minimum, none)
    assert of_columns(np.logical_and, np.isnan(none)).all()


@given(st.lists(st.none() | st.text(st.sampled_from("a! \t\n\x1f\x85\xa0\u2003\u3000\x00é"), max_size=3), max_size=30))
def test_a_text_of_nothing_but_white_space_is_missing(cells: list[str | None]) -> None:
    table = pa.table({"site": pa.array(cells, pa.string()), "other": pa.array(cells, pa.string())})
    result = without_empty_texts(table, ["site"])
    assert result["site"].to_pylist() == [cell if cell is not None and cell.strip() else None for cell in cells]
    assert result["other"].to_pylist() == cells
