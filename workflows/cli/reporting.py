"""The command report."""

from __future__ import annotations

from typing import Annotated

import typer

from workflows.cli.application import STORAGE, StorageOption, app, check_name, complete_run, errors_and_ray


@app.command(epilog="Example: `lstm-relay report demo`")
def report(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a run or a search.", autocompletion=complete_run)],
    against: Annotated[str | None, typer.Option(metavar="RUN", help="Another run to compare with.")] = None,
    output: Annotated[
        str | None, typer.Option(metavar="FILE", help="Output file; default: report.html in the run's folder.")
    ] = None,
    storage: StorageOption = STORAGE,
) -> None:
    """Write one HTML page about a run or a search: learning rate, errors, forecasts, reused epochs, recipe.

    A run with retention is compared with the latest run without retention on the same datasets, if there is one.
    """
    with errors_and_ray() as console:
        import time

        from workflows.report.report import make_report
        from workflows.results.output_file import check_file, write_file
        from workflows.store.store import Store

        check_name(name, "RUN")
        check_name(against, "--against")
        started, store = time.perf_counter(), Store(storage)
        if output is not None:
            check_file("--output", output)
        content = make_report(store, name, against)
        if output is None:
            store.write_run(name, "report.html", content.encode())
        else:
            write_file("--output", output, content)
        where = output or f"{store.address}/runs/{name}/report.html"
        seconds = time.perf_counter() - started
        console.print(
            f"{where}: {len(content.encode()):,} bytes, written in {seconds:.1f} s",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
