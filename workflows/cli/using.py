"""The commands that use what was trained: evaluate, predict."""

from __future__ import annotations

import sys
from json import dumps
from typing import Annotated

import typer

from workflows.cli.application import STORAGE, StorageOption, app, errors_and_ray

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]


@app.command(epilog="Example: `python -m workflows evaluate demo --split validation --json errors.json`")
def evaluate(
    name: RunArgument,
    split: Annotated[
        str | None, typer.Option(help="validation or test; unless given test, or validation where nothing is for test.")
    ] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the figures as JSON, too; - for stdout.")] = None,
    storage: StorageOption = STORAGE,
) -> None:
    """Show the errors of a run's final state on each dataset, in scaled units and in the targets' own.

    Figures that the store has are shown at once; others are measured in this process, and kept.
    """
    with errors_and_ray() as console:
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
        facts = run(store, opened, chosen_split(opened, split))
        written = dumps(facts, indent=1) + "\n"
        if json == "-":
            sys.stdout.write(written)
            return
        for table in evaluation_tables(facts):
            console.print(table)
        if json is not None:
            write_file("--json", json, written)


@app.command(epilog="Example: `python -m workflows predict pumps --dataset north --input new/*.csv --output forecast.csv`")
def predict(
    name: RunArgument,
    input_: Annotated[
        str, typer.Option("--input", metavar="FILES", help="A file, a folder, a glob or an address: CSV, Parquet or Arrow.")
    ],
    output: Annotated[str, typer.Option(metavar="FILE", help="What is written: CSV (also .csv.gz) or Parquet.")],
    dataset: Annotated[
        str | None, typer.Option(help="The dataset that the rows are of, whose scaling they take; may be left out if one.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="A forecast from every row with enough before it.")] = False,
    storage: StorageOption = STORAGE,
) -> None:
    """Predict what follows the last row of each series in new files, in the targets' own units."""
    with errors_and_ray() as console:
        from workflows.results.forecast_file import predict_files
        from workflows.results.number_format import counted
        from workflows.results.trained import open_run
        from workflows.store.store import Store

        store = Store(storage)
        done = predict_files(store, open_run(store, name), dataset, input_, output, all_)
        for warning in done["warnings"]:
            console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        what = counted(done["windows"], "forecast" if done["horizon"] else "prediction")
        what += f" of {counted(done['horizon'], 'step')}" if done["horizon"] else ""
        console.print(
            f"{what} for {done['series']:,} series, {counted(done['rows'], 'row')} in {done['output']}",
            soft_wrap=True,
            highlight=False,
        )
