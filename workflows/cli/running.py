"""The commands that run a recipe: train, search, prepare."""

from __future__ import annotations

from typing import Annotated

import typer

from workflows.cli.application import (
    STORAGE,
    AddressOption,
    NameOption,
    RecipeArgument,
    SetOption,
    StorageOption,
    VerboseOption,
    WorkersOption,
    app,
    check_name,
    errors_and_ray,
    load,
)


@app.command(epilog="Example: `lstm-relay train demo --set training.decay_rate=0.7`")
def train(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: WorkersOption = None,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Prepare the datasets, train on them in sequence, and evaluate all of them after each stage.

    Epochs that are in the store are reused, so the same command resumes an interrupted run.
    """
    with errors_and_ray(verbose) as console:
        from workflows.loggers.terminal import Screen
        from workflows.training.run import train as run

        checked = load(recipe, set_)
        check_name(name)
        with Screen(console) as screen:
            result = run(checked, storage, name, workers, address, screen)
        if result.status == "stopped":  # by the guard (action = "stop")
            raise typer.Exit(1)


@app.command(epilog="Example: `lstm-relay search demo`")
def search(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Data-parallel workers of each trial; 0: its own process.")
    ] = None,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Run the trials of the recipe's \\[search]; trials with a common beginning share its epochs.

    Epochs that are in the store are reused, so the same command resumes an interrupted search.
    """
    with errors_and_ray(verbose) as console:
        from workflows.loggers.search_terminal import SearchScreen
        from workflows.search.search import search as run

        checked = load(recipe, set_)
        check_name(name)
        with SearchScreen(console) as screen:
            run(checked, storage, name, workers, address, screen)


@app.command(epilog="Example: `lstm-relay prepare my_recipe.toml`")
def prepare(
    recipe: RecipeArgument = "demo",
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Prepare the datasets of a recipe and show their contents; nothing is trained."""
    with errors_and_ray(verbose) as console:
        from workflows.loggers.terminal import Screen
        from workflows.relay.events import Preparing
        from workflows.results.number_format import counted
        from workflows.results.tables import prepared_tables
        from workflows.store.store import Store
        from workflows.training.preparing import prepare_on

        checked, store = load(recipe, set_), Store(storage)
        with Screen(console) as screen, store.using("prepare"):
            screen(Preparing(checked.name))
            prepared = prepare_on(checked, store.storage, address, screen)
        for table in prepared_tables(prepared.datasets):
            console.print(table)
        for dataset in prepared.datasets:
            for warning in dataset.warnings:
                screen.say(f"warning: dataset {dataset.name!r}: {warning}", "yellow")
        console.print(
            f"{counted(len(prepared.datasets), 'dataset')} prepared in {prepared.seconds:.1f} s, in {store.address}/prepared"
        )
