"""The result of a run, one line for each dataset."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from workflows.results.number_format import empty_table, show
from workflows.results.run_result import RunResult


def result_table(result: RunResult) -> Table:
    """Return a line for each dataset: the error after its stage, at the end, and relative to the naive forecast."""
    matrix = result.error_matrix
    units = "" if result.error.startswith("share") else ", scaled units"
    columns = ("dataset", "rate", "epochs", "own stage", "at the end", "end / naive", "test / naive")
    table = empty_table(columns, title=f"{result.name}: validation error ({result.error}{units})")
    table.columns[0].no_wrap = True
    for number, stage in enumerate(result.stages):
        column = matrix.datasets.index(stage.dataset)
        end, relative = matrix.validation[-1][column], matrix.scaled[-1][column]
        after_stage = matrix.validation[number + 1][column]
        worse = end is not None and after_stage is not None and end > 1.1 * after_stage
        table.add_row(
            Text(stage.dataset),
            f"{stage.learning_rate:.2g}",
            str(stage.epochs),
            show(after_stage),
            Text(show(end), style="red" if worse else ""),
            Text(show(relative, 2), style="red" if relative is not None and relative > 1 else "green"),
            show(result.test[stage.dataset].scaled_error, 2),
        )
    for name in result.measured_only:
        column, test = matrix.datasets.index(name), result.test[name].scaled_error
        end, relative = matrix.validation[-1][column], matrix.scaled[-1][column]
        table.add_row(Text(name), "-", "0", "-", show(end), show(relative, 2), show(test, 2))
    return table
