"""The errors of a run before and after each stage, as a table that displays itself."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ErrorMatrix:
    """The validation error on each dataset before and after each stage.

    `values` and `scaled` (divided by the naive forecast's error) are (1 + stages, datasets), NaN without samples.
    `after` names the rows, `error` the measure.
    """

    datasets: Sequence[str]
    after: Sequence[str]
    values: npt.NDArray[np.float64]
    scaled: npt.NDArray[np.float64]
    error: str

    def _cells(self) -> list[list[str]]:
        rows = [["-" if np.isnan(value) else f"{value:.4f}" for value in row] for row in self.values]
        names = ["untrained", *(f"after {name}" for name in self.after[1:])]
        return [[f"validation {self.error}", *self.datasets], *([name, *row] for name, row in zip(names, rows, strict=True))]

    def __repr__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in cells]
        return "\n".join(
            "  ".join([row[0].strip().ljust(widths[0]), *line[1:]]) for row, line in zip(cells, lines, strict=True)
        )

    def _repr_html_(self) -> str:
        head, *rows = [[html.escape(cell) for cell in row] for row in self._cells()]
        lines = ["<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>"]
        for name, *cells in rows:
            lines.append(f"<tr><th>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        return "<table>" + "".join(lines) + "</table>"
