"""The commands for what the store holds: runs, log, rollback, clean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.application import STORAGE, StorageOption, app, errors_and_ray


@app.command(epilog="Example: `python -m workflows runs`")
def runs(storage: StorageOption = STORAGE) -> None:
    """List the runs and the searches of a storage, the latest first."""
    with errors_and_ray() as console:
        from workflows.results.tables import runs_table, searches_table
        from workflows.store.store import Store

        store = Store(storage)
        found, searches = store.runs(), store.searches()
        if found:
            console.print(runs_table(found))
        if searches:
            console.print(searches_table(searches))
        if not found and not searches:
            there = not store.storage.local or Path(store.address).is_dir()
            yet = f"There is no run in {storage} yet" if there else f"There is no folder {storage} yet, and no run"
            console.print(f"{yet}: python -m workflows train demo makes one.", soft_wrap=True)


@app.command(epilog="Example: `python -m workflows log demo`")
def log(name: Annotated[str, typer.Argument(help="Name of a run.")], storage: StorageOption = STORAGE) -> None:
    """Show the chain of epochs of a run: dataset, epoch, rate, errors, address, when, seconds."""
    with errors_and_ray() as console:
        from data.errors import InputError
        from workflows.results.tables import log_table
        from workflows.results.trained import why_not
        from workflows.store.store import Store

        store = Store(storage)
        found = store.run(name)
        if found is None:
            raise InputError(why_not(store, name))
        console.print(log_table(store, found))


@app.command(epilog="Example: `python -m workflows rollback demo --to plant_birch`")
def rollback(
    name: Annotated[str, typer.Argument(help="Name of a run.")],
    to: Annotated[str, typer.Option(help="The stage to go back to the end of: a dataset's name, or its number.")],
    storage: StorageOption = STORAGE,
) -> None:
    """Point a run at the end of an earlier stage; its later epochs stay in the store until `clean`."""
    with errors_and_ray() as console:
        from workflows.results.clean import roll_back
        from workflows.results.number_format import counted
        from workflows.store.store import Store

        result = roll_back(Store(storage), name, to)
        last = result["stages"][-1]["dataset"]
        console.print(
            f"{name} stands at the end of {last} ({counted(len(result['stages']), 'stage')}), address {result['key']}",
            soft_wrap=True,
        )
        console.print(
            f"It stood at {result['rolled_back_from']}: the same train command takes it there again, without training "
            "anything unless clean has removed the epochs in between.",
            soft_wrap=True,
        )


@app.command(epilog="Example: `python -m workflows clean --dry-run`")
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    storage: StorageOption = STORAGE,
) -> None:
    """Remove checkpoints and prepared data that no run reaches, and say what that was."""
    with errors_and_ray() as console:
        from data.errors import InputError
        from workflows.results.clean import clean as clean_up
        from workflows.results.number_format import counted
        from workflows.store.store import Store

        store = Store(storage)
        if not {"checkpoints", "prepared", "runs"} & set(store.storage.names("")):
            raise InputError(
                f"--storage {storage}: no checkpoints, prepared data or runs are there: name the storage that has them"
            )
        removed = clean_up(store, dry_run)
        for leftover in removed:
            console.print(f"{leftover.path}  {leftover.what}  {leftover.bytes:,} bytes", soft_wrap=True, highlight=False)
        total = sum(leftover.bytes for leftover in removed)
        verb = "would be removed" if dry_run else "removed"
        console.print(f"{counted(len(removed), 'thing')}, {total:,} bytes {verb}; what runs reach stands.")
