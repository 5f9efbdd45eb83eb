"""The commands for a trained run: evaluate, predict, export."""

from __future__ import annotations

import sys
from json import dumps
from typing import Annotated

import typer

from workflows.cli.application import STORAGE, RunArgument, StorageOption, app, check_name, errors_and_ray


@app.command(epilog="Example: `lstm-relay evaluate demo --split validation --json errors.json`")
def evaluate(
    name: RunArgument,
    split: Annotated[
        str | None, typer.Option(help="validation or test; default: test, or validation if there is no test split.")
    ] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write the errors as JSON; - for stdout.")] = None,
    storage: StorageOption = STORAGE,
) -> None:
    """Show the errors of a run's final model on each dataset, scaled and in the targets' units.

    Evaluations in the store are shown at once; others are computed in the current process and stored.
    """
    with errors_and_ray() as console:
        check_name(name, "RUN")
        from workflows.results.evaluation import chosen_split
        from workflows.results.evaluation import evaluate as run
        from workflows.results.output_file import check_file, write_file
        from workflows.results.tables import evaluation_tables
        from workflows.results.trained import open_run
        from workflows.store.store import Store

        if json not in (None, "-"):
            check_file("--json", json)
        store = Store(storage)
        opened = open_run(store, name)
        evaluation = run(store, opened, chosen_split(opened, split))
        written = dumps(evaluation.to_json(), indent=1) + "\n"
        if json == "-":
            sys.stdout.write(written)
            return
        for table in evaluation_tables(evaluation):
            console.print(table)
        if json is not None:
            write_file("--json", json, written)


@app.command(epilog="Example: `lstm-relay predict pumps --dataset north --input new/*.csv --output forecast.csv`")
def predict(
    name: RunArgument,
    input_: Annotated[
        str, typer.Option("--input", metavar="FILES", help="File, folder, glob or URI: CSV, Parquet or Arrow.")
    ],
    output: Annotated[str, typer.Option(metavar="FILE", help="Output file: .csv, .csv.gz or .parquet.")],
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset of the rows; default: by a column, the file name or the folder."),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Forecast from every row with enough history.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write the probability of each class.")
    ] = False,
    storage: StorageOption = STORAGE,
) -> None:
    """Forecast the steps after the last row of each series in new files, in the targets' units.

    Columns: series, cutoff (time of the last input row), step, time (of the predicted step), then the targets.
    """
    with errors_and_ray() as console:
        check_name(name, "RUN")
        from workflows.results.forecast_file import predict_files
        from workflows.results.number_format import counted
        from workflows.results.trained import open_run
        from workflows.store.store import Store

        store = Store(storage)
        written = predict_files(store, open_run(store, name), dataset, input_, output, all_, probabilities)
        for warning in written.warnings:
            console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        summary = counted(written.windows, "forecast" if written.horizon else "prediction")
        summary += f" of {counted(written.horizon, 'step')}" if written.horizon else ""
        console.print(
            f"{summary} for {written.series:,} series, {counted(written.rows, 'row')} in {written.output}",
            soft_wrap=True,
            highlight=False,
        )


@app.command(epilog="Example: `lstm-relay export pumps --dataset north --output north.onnx`")
def export(
    name: RunArgument,
    output: Annotated[str, typer.Option(metavar="FILE", help="Output file: .pt2 (torch.export) or .onnx.")],
    dataset: Annotated[
        str | None, typer.Option(help="Dataset whose scaling and head are included; optional if all have the same.")
    ] = None,
    storage: StorageOption = STORAGE,
) -> None:
    """Write the final model as one file from raw units to raw units, with a JSON of its inputs and outputs beside it."""
    with errors_and_ray() as console:
        from workflows.results.export import export_model
        from workflows.results.trained import open_run
        from workflows.store.store import Store

        store = Store(storage)
        exported = export_model(store, open_run(store, name), output, dataset)
        inputs, outputs = ", ".join(exported.names("inputs")), ", ".join(exported.names("outputs"))
        message = f"{exported.output}: {inputs} -> {outputs}; {exported.description} describes them"
        console.print(message, soft_wrap=True, highlight=False)
