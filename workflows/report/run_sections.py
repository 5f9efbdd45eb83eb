"""What the page of a run says of its numbers: the course, the errors, the comparison with naive, what was reused."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from workflows.report.matrix import PHONE_FITS, draw_matrix, relative_errors
from workflows.report.page import (
    Cell,
    Html,
    Section,
    definitions,
    details,
    figure,
    heading,
    marked,
    paragraph,
    pictures,
    table,
)
from workflows.report.picture import Pictures
from workflows.report.sequence import draw_errors, draw_losses, draw_rates
from workflows.report.timeline import StageLine
from workflows.results.number_format import few_digits

Facts = Mapping[str, Any]
MANY = 60  # datasets, beyond which the matrix is not also told as a table


def number(value: float | None, digits: int = 3) -> str | None:
    """A number for a cell."""
    return None if value is None else f"{value:.{digits}f}"


def sequence_section(drawing: Pictures, run: Facts, stages: Sequence[StageLine]) -> Section:
    """The datasets along the steps."""
    drawn = [
        figure(draw_rates(drawing, stages), "The learning rate: carried from dataset to dataset and decayed."),
        figure(
            draw_losses(drawing, stages, run.get("error", "error")),
            "Each dataset during its own turn: the loss that is minimised, and the error on its validation part.",
        ),
    ]
    matrix = run["error_matrix"]
    if any(value is not None for row in matrix["scaled"] for value in row):
        drawn.append(
            figure(
                draw_errors(drawing, stages, matrix["datasets"], matrix["scaled"]),
                "Every dataset before and after each turn. A line that rises after its own dataset's turn is forgetting.",
            )
        )
    names = ", ".join(f"{place}. {stage.dataset}" for place, stage in enumerate(stages, 1))
    order = paragraph(f"In this order: {names}.", "soft")
    return Section("The sequence", [order if len(stages) <= MANY else details("The order", order), pictures(drawn)])


def matrix_section(drawing: Pictures, run: Facts) -> Section | None:
    """The error matrix, as a heat map and as numbers; None where nothing was measured."""
    matrix = run["error_matrix"]
    if not matrix["validation"]:
        return None
    relative = relative_errors(matrix["scaled"], matrix["validation"])
    if relative is None:
        return None
    names, after = matrix["datasets"], matrix["after"]
    own = [names.index(each) if each in names and row else None for row, each in enumerate(after)]
    picture = draw_matrix(drawing, relative, after, names, own)
    caption = (
        f"Validation errors as multiples of {relative.what}: blue is below 1, orange above, the strongest shades from 4 "
        "times less or more. Read a column downwards: the framed cell is right after the dataset's own turn; what comes "
        "below it is what later datasets did to it."
    )
    parts: list[Html] = [figure(picture, caption, wide=len(names) > PHONE_FITS)]
    if len(names) <= MANY:
        rows: list[list[Cell]] = [
            [each, *(number(v, 4) for v in row)] for each, row in zip(after, matrix["validation"], strict=True)
        ]
        parts.append(
            details("The numbers", table(["after", *names], rows, f"Validation error ({run.get('error', 'error')})"))
        )
    return Section("Errors before and after each stage", parts)


def naive_section(run: Facts, targets: Sequence[str]) -> Section | None:
    """Every dataset against the naive forecast; None where nothing was measured."""
    matrix = run["error_matrix"]
    if not matrix["validation"]:
        return None
    classes = "classes" in run.get("error", "")
    head = ["dataset", "own stage", "at the end", "end / naive", "test", "test / naive", "test samples"]
    head += [f"{name}, {target}" for target in targets for name in ("MAE", "RMSE")] if not classes and run["test"] else []
    rows: list[list[Cell]] = []
    for place, name in enumerate(matrix["datasets"]):
        stage = matrix["after"].index(name) if name in matrix["after"][1:] else None
        own = None if stage is None else matrix["validation"][stage][place]
        end, relative = matrix["validation"][-1][place], matrix["scaled"][-1][place]
        test = run["test"].get(name, {})
        row: list[Cell] = [name, number(own, 4), number(end, 4), _against_naive(relative), number(test.get("error"), 4)]
        row += [_against_naive(test.get("scaled_error")), f"{test['samples']:,}" if test.get("samples") else None]
        if not classes and run["test"]:
            for target in range(len(targets)):
                row += [few_digits(test[kind][target], 4) if kind in test else None for kind in ("mae_units", "rmse_units")]
        rows.append(row)
    words = (
        "Naive is guessing the most frequent class of the train samples."
        if classes
        else "Naive is repeating the last value, or, where a sequence has one label, guessing the mean of the train labels."
    )
    units = "" if classes else ", scaled units; MAE and RMSE in the target's own"
    parts = [
        paragraph(f"{words} A quotient below 1 beats it."),
        table(head, rows, f"Errors ({run.get('error', 'error')}{units})"),
    ]
    return Section("Against the naive forecast", parts)


def _against_naive(value: float | None) -> Cell:
    return None if value is None else marked(f"{value:.2f}", value < 1)


MEASURES = {
    "mean_scaled_error": ("mean error at the end", "over all datasets that had their turn: below 1 beats naive"),
    "forgetting": (
        "forgetting",
        "how far the error of a dataset has risen at the end from its lowest after any earlier stage, on average "
        "(Chaudhry et al. 2018); below 0 it still fell",
    ),
    "backward_transfer": (
        "backward transfer",
        "how far later datasets lowered the error of an earlier one since its own turn, on average "
        "(Lopez-Paz and Ranzato 2017); below 0 they raised it",
    ),
    "forward_transfer": (
        "forward transfer",
        "how far earlier datasets lowered the error of one before its own turn, against the untrained model, on average",
    ),
}


def transfer_section(run: Facts) -> Section:
    """What is remembered, forgotten and passed on."""
    rows = [(name, number(run[key]), words) for key, (name, words) in MEASURES.items() if run.get(key) is not None]
    if not rows:
        return Section(
            "Forgetting and transfer", [paragraph("Nothing is known yet: it takes validation errors after two stages.")]
        )
    return Section(
        "Forgetting and transfer", [paragraph("In units of the naive forecast's error.", "soft"), definitions(rows)]
    )


def work_section(run: Facts, epochs: Mapping[str, Facts | None]) -> Section:
    """What was trained and what was there already, and where the time went."""
    ended = float(run.get("ended", run["when"]))
    begun = ended - float(run["seconds"]["total"]) if "seconds" in run else float(run.get("started", 0))
    rows: list[list[Cell]] = []
    for place, stage in enumerate(run["stages"], 1):
        known = [facts for key in stage["keys"] if (facts := epochs.get(key)) is not None]
        fresh = sum(float(facts["when"]) >= begun for facts in known)
        seconds = sum(float(facts["seconds"]) for facts in known)
        samples = sum(int(facts["samples"]) for facts in known)
        handed = stage["handed_over"] if stage["handed_over"] < len(stage["keys"]) else "last"
        rows.append(
            [
                f"{place}. {stage['dataset']}", len(stage["keys"]), fresh, len(known) - fresh, handed, stage["attempts"],
                f"{stage['learning_rate']:.3g}", f"{seconds:.1f}", f"{samples / seconds:,.0f}" if seconds else None,
            ]
        )  # fmt: skip
    head = [
        "stage",
        "epochs",
        "trained now",
        "from the store",
        "handed over",
        "attempts",
        "rate",
        "fit seconds",
        "samples / s",
    ]
    requested, trained = run.get("epochs_requested"), run.get("epochs_trained")
    words = f"{requested} epochs asked for"
    if trained is not None:
        again = run.get("epochs_tried_again", 0)
        words += f", {trained} trained by the last run of this command"
        words += f", {again} of them in further attempts" if again else ""
    words += "." if run["status"] != "rolled back" else ". The table has the stages up to where it was rolled back."
    parts = [paragraph(words), table(head, rows, "Epochs by stage")]
    if "seconds" in run:
        phases = [[phase, f"{value:.1f}"] for phase, value in run["seconds"].items()]
        parts += [heading("Seconds by phase"), table(["phase", "seconds"], phases, "Of the last run of this command")]
    return Section("What was trained and what was reused", parts)


def clock(when: float) -> str:
    """A time of the day on this machine, with its date."""
    return f"{datetime.datetime.fromtimestamp(when).astimezone():%Y-%m-%d %H:%M:%S %Z}"
