"""The commands about the store: runs, log, rollback, clean, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.application import STORAGE, RunArgument, StorageOption, app, check_name, errors_and_ray


@app.command(epilog="Example: `lstm-relay runs`")
def runs(storage: StorageOption = STORAGE) -> None:
    """List the runs and searches in a storage, newest first."""
    with errors_and_ray() as console:
        from workflows.results.stored_runs import stored_runs, stored_searches
        from workflows.results.tables import runs_table, searches_table
        from workflows.store.store import Store

        store = Store(storage)
        (stored, unreadable), (searches, unreadable_searches) = stored_runs(store), stored_searches(store)
        if stored:
            console.print(runs_table(stored))
        if searches:
            console.print(searches_table(searches))
        unreadable += unreadable_searches
        for message in unreadable:
            console.print(f"warning: {message}", style="yellow", markup=False, soft_wrap=True)
        if not stored and not searches and not unreadable:
            exists = not store.storage.local or Path(store.address).is_dir()
            words = f"No runs in {storage}" if exists else f"No runs: the folder {storage} does not exist"
            console.print(f"{words}. Try: lstm-relay train demo", soft_wrap=True)


@app.command(epilog="Example: `lstm-relay log demo`")
def log(name: RunArgument, storage: StorageOption = STORAGE) -> None:
    """Show the epochs of a run: dataset, epoch, learning rate, errors, key, time, seconds."""
    with errors_and_ray() as console:
        check_name(name, "RUN")
        from data.errors import InputError
        from workflows.results.stored_runs import stored_run
        from workflows.results.tables import log_table
        from workflows.results.trained import why_not
        from workflows.store.store import Store

        store = Store(storage, mend=False)
        run = stored_run(store, name)
        if run is None:
            raise InputError(why_not(store, name))
        console.print(log_table(store, run))


@app.command(epilog="Example: `lstm-relay rollback demo --to plant_birch`")
def rollback(
    name: RunArgument,
    to: Annotated[str, typer.Option(help="Stage to return to: name or number of its dataset.")],
    storage: StorageOption = STORAGE,
) -> None:
    """Point a run to the checkpoint at the end of an earlier stage; later epochs stay in the store until `clean`."""
    with errors_and_ray() as console:
        check_name(name, "RUN")
        from workflows.results.number_format import counted
        from workflows.results.rollback import roll_back
        from workflows.store.store import Store

        result = roll_back(Store(storage), name, to)
        last = result.stages[-1].dataset
        console.print(
            f"{name} now points to the checkpoint after {last} ({counted(len(result.stages), 'stage')}), key {result.key}",
            soft_wrap=True,
        )
        console.print(
            f"Previous checkpoint: {result.rolled_back_from}; run train to restore it. "
            "Epochs are retrained only if clean has removed them.",
            soft_wrap=True,
        )


@app.command(epilog="Example: `lstm-relay clean --dry-run`")
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed without removing it.")] = False,
    storage: StorageOption = STORAGE,
) -> None:
    """Remove checkpoints and prepared data that no run needs, and list them."""
    with errors_and_ray() as console:
        from data.errors import InputError
        from workflows.results.clean import clean as clean_up
        from workflows.results.number_format import counted
        from workflows.store.store import Store

        store = Store(storage)
        if not {"checkpoints", "prepared", "runs"} & set(store.storage.names("")):
            raise InputError(f"--storage {storage}: no checkpoints, prepared data or runs found; check the path")
        removed = clean_up(store, dry_run)
        for leftover in removed:
            console.print(f"{leftover.path}  {leftover.what}  {leftover.bytes:,} bytes", soft_wrap=True, highlight=False)
        total = sum(leftover.bytes for leftover in removed)
        verb = "Would remove" if dry_run else "Removed"
        console.print(f"{verb} {counted(len(removed), 'item')}, {total:,} bytes; everything that a run needs is kept.")


@app.command(epilog="Example: `lstm-relay verify --storage s3://bucket/runs`")
def verify(storage: StorageOption = STORAGE) -> None:
    """Check every file of a storage by its hash and list what is damaged, unreachable or foreign; nothing is changed.

    Exit code 1 if anything is damaged.
    """
    with errors_and_ray() as console:
        from data.errors import InputError
        from workflows.results.number_format import counted
        from workflows.results.verify import verify as check
        from workflows.store.store import Store

        store = Store(storage)
        if not {"checkpoints", "prepared", "runs"} & set(store.storage.names("")):
            raise InputError(f"--storage {storage}: no checkpoints, prepared data or runs found; check the path")
        report = check(store)
        for finding in report.findings:
            console.print(f"{finding.kind}  {finding.path}  {finding.what}", soft_wrap=True, highlight=False, markup=False)
        checked = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for noun, count in report.checked.items())
        console.print(
            f"Checked {checked or 'nothing'}: {counted(len(report.damaged), 'fault')}; nothing was changed.", soft_wrap=True
        )
        if report.damaged:
            raise typer.Exit(1)
