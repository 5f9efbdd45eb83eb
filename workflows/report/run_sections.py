"""The report sections of a run: sequence, error matrix, comparison with naive, forgetting, reused epochs."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

from models.metrics import METRICS
from workflows.report.matrix import PHONE_FITS, draw_matrix, relative_errors
from workflows.report.page import (
    Cell,
    Details,
    Figure,
    Gallery,
    Heading,
    Marked,
    Measures,
    Paragraph,
    Part,
    Section,
    Table,
)
from workflows.report.sequence import draw_errors, draw_losses, draw_rates
from workflows.report.timeline import StageLine
from workflows.results.number_format import few_digits
from workflows.results.picture import Pictures
from workflows.results.run_result import NOT_MEASURED, RunResult
from workflows.results.sessions import calls_of, total_seconds
from workflows.store.kept import EpochRecord

MANY = 60  # datasets; with more, the error matrix has no table


def number(value: float | None, digits: int = 3) -> str | None:
    """Format a number for a table cell."""
    return None if value is None else f"{value:.{digits}f}"


def sequence_section(drawing: Pictures, run: RunResult, stages: Sequence[StageLine]) -> Section:
    """Return the section with learning rate, loss and errors over the steps."""
    drawn = [
        Figure(draw_rates(drawing, stages), "Learning rate, carried from each dataset to the next and decayed."),
        Figure(
            draw_losses(drawing, stages, run.error),
            "Train loss and validation error of each dataset during its own stage.",
        ),
    ]
    matrix = run.error_matrix
    if any(value is not None for row in matrix.scaled for value in row):
        drawn.append(
            Figure(
                draw_errors(drawing, stages, matrix.datasets, matrix.scaled),
                "Error on every dataset after each stage. A line that rises after its own stage shows forgetting.",
            )
        )
    names = ", ".join(f"{position}. {stage.dataset}" for position, stage in enumerate(stages, 1))
    order = Paragraph(f"Training order: {names}.", "soft")
    return Section("Sequence", [order if len(stages) <= MANY else Details("Training order", order), Gallery(drawn)])


def matrix_section(drawing: Pictures, run: RunResult) -> Section | None:
    """Return the section with the error matrix as heat map and table; None if nothing was measured."""
    matrix = run.error_matrix
    if not matrix.validation:
        return None
    relative = relative_errors(matrix.scaled, matrix.validation)
    if relative is None:
        return None
    names, after = matrix.datasets, matrix.after
    trained_columns = [names.index(each) if each in names and row else None for row, each in enumerate(after)]
    picture = draw_matrix(drawing, relative, after, names, trained_columns)
    caption = (
        f"Validation errors as multiples of {relative.what}. Blue is below 1, orange above 1; the scale ends at 1/4 and 4. "
        "Read a column from top to bottom: the framed cell is the error right after the dataset's own stage; the cells "
        "below it show the effect of later datasets."
    )
    parts: list[Part] = [Figure(picture, caption, wide=len(names) > PHONE_FITS)]
    if len(names) <= MANY:
        rows: list[list[Cell]] = [
            [each, *(number(v, 4) for v in row)] for each, row in zip(after, matrix.validation, strict=True)
        ]
        parts.append(Details("Table", Table(["after", *names], rows, f"Validation error ({run.error})")))
    return Section("Error matrix", parts)


def naive_section(run: RunResult, targets: Sequence[str]) -> Section | None:
    """Return the section that compares every dataset with the naive forecast; None if nothing was measured."""
    matrix = run.error_matrix
    if not matrix.validation:
        return None
    classes = "classes" in run.error
    head = ["dataset", "after own stage", "at the end", "end / naive", "test", "test / naive", "test samples"]
    head += (
        [f"{metric.title}, {target}" for target in targets for metric in METRICS.values()]
        if not classes and run.test
        else []
    )
    rows: list[list[Cell]] = []
    for column, name in enumerate(matrix.datasets):
        stage = matrix.after.index(name) if name in matrix.after[1:] else None
        after_own_stage = None if stage is None else matrix.validation[stage][column]
        end, relative = matrix.validation[-1][column], matrix.scaled[-1][column]
        test = run.test.get(name, NOT_MEASURED)
        row: list[Cell] = [name, number(after_own_stage, 4), number(end, 4), _against_naive(relative), number(test.error, 4)]
        row += [_against_naive(test.scaled_error), f"{test.samples:,}" if test.samples else None]
        if not classes and run.test:
            for target in range(len(targets)):
                row += [None if each is None else few_digits(each[target], 4) for each in map(test.by_target, METRICS)]
        rows.append(row)
    words = (
        "The naive forecast is the most frequent class of the train samples."
        if classes
        else "The naive forecast repeats the last observed value; for one label per sequence it is the mean train label."
    )
    units = "" if classes else ", scaled; MAE and RMSE in the target's units"
    parts: list[Part] = [
        Paragraph(f"{words} A ratio below 1 beats it."),
        Table(head, rows, f"Errors ({run.error}{units})"),
    ]
    return Section("Comparison with the naive forecast", parts)


def _against_naive(value: float | None) -> Cell:
    return None if value is None else Marked(f"{value:.2f}", value < 1)


MEASURES = {
    "mean_scaled_error": (
        "mean scaled error",
        "mean over all trained datasets at the end; below 1 beats the naive forecast",
    ),
    "forgetting": (
        "forgetting",
        "average rise of a dataset's error from its lowest value after any earlier stage to the end "
        "(Chaudhry et al. 2018); negative: the error still fell",
    ),
    "backward_transfer": (
        "backward transfer",
        "average reduction of a dataset's error by the datasets after it "
        "(Lopez-Paz and Ranzato 2017); negative: they raised it",
    ),
    "forward_transfer": (
        "forward transfer",
        "average reduction of a dataset's error before its own stage, compared with the untrained model",
    ),
}


def transfer_section(run: RunResult) -> Section:
    """Return the section with forgetting and transfer."""
    rows = [
        (name, number(value), words) for key, (name, words) in MEASURES.items() if (value := getattr(run, key)) is not None
    ]
    if not rows:
        return Section(
            "Forgetting and transfer", [Paragraph("Not known yet: validation errors after two stages are needed.")]
        )
    return Section(
        "Forgetting and transfer",
        [Paragraph("Errors are relative to the naive forecast (naive = 1).", "soft"), Measures(rows)],
    )


def work_section(run: RunResult, epochs: Mapping[str, EpochRecord | None]) -> Section:
    """Return the section with trained and reused epochs and the time of each phase."""
    calls = calls_of(run)
    spans = [(each.when - each.seconds.total, each.when) for each in calls]
    spans += [(run.started or 0.0, run.when)] if run.seconds is None else []  # the run has not ended
    rows: list[list[Cell]] = []
    for position, stage in enumerate(run.stages, 1):
        known = [record for key in stage.keys if (record := epochs.get(key)) is not None]
        num_trained = sum(any(start <= record.when <= end for start, end in spans) for record in known)
        seconds = sum(record.seconds for record in known)
        samples = sum(record.samples for record in known)
        handed_over = stage.handed_over if stage.handed_over < len(stage.keys) else "last"
        rows.append(
            [
                f"{position}. {stage.dataset}", len(stage.keys), num_trained, len(known) - num_trained, handed_over,
                stage.attempts, f"{stage.learning_rate:.3g}", f"{seconds:.1f}",
                f"{samples / seconds:,.0f}" if seconds else None,
            ]
        )  # fmt: skip
    head = [
        "stage",
        "epochs",
        "trained",
        "reused",
        "handover epoch",
        "attempts",
        "learning rate",
        "fit seconds",
        "samples / s",
    ]
    words = f"{run.epochs_requested} epochs requested"
    if run.epochs_trained is not None:
        trained, again = sum(each.epochs_trained for each in calls), sum(each.epochs_tried_again for each in calls)
        words += f", {trained} trained" + (f" in {len(calls)} calls" if len(calls) > 1 else "")
        words += f", {again} of them in further attempts of the guard" if again else ""
    words += "." if run.status != "rolled back" else ". The table ends at the stage that the run was rolled back to."
    parts: list[Part] = [Paragraph(words), Table(head, rows, "Epochs by stage")]
    if calls:
        spent = dataclasses.asdict(total_seconds(calls))
        phases: list[list[Cell]] = [[phase, f"{value:.1f}"] for phase, value in spent.items()]
        parts += [Heading("Seconds by phase"), Table(["phase", "seconds"], phases, "All calls that trained")]
    return Section("Trained and reused epochs", parts)


def clock(when: float) -> str:
    """Format a time as local date and time."""
    return f"{datetime.datetime.fromtimestamp(when).astimezone():%Y-%m-%d %H:%M:%S %Z}"
