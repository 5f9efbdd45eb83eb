"""The commands that work through a recipe: train, search, prepare."""

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


@app.command(epilog="Example: `python -m workflows train demo --set training.decay_rate=0.7`")
def train(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: WorkersOption = None,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Prepare the datasets, fit them in sequence, measure all of them after each.

    Epochs that the store holds are not trained again: the same command resumes a run that was interrupted.
    """
    with errors_and_ray(verbose) as console:
        from workflows.loggers.terminal import Screen
        from workflows.training.run import train as run

        checked = load(recipe, set_)
        check_name(name)
        with Screen(console) as screen:
            result = run(checked, storage, name, workers, address, screen)
        if result.status == "stopped":  # by the guard, as the recipe asks
            raise typer.Exit(1)


@app.command(epilog="Example: `python -m workflows search demo`")
def search(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: Annotated[int | None, typer.Option(min=0, help="Data-parallel workers of each trial; 0: its process.")] = None,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Try what the recipe's \\[search] describes; trials share every epoch that they agree on.

    Epochs that the store holds are not trained again: the same command goes on with a search that was interrupted.
    """
    with errors_and_ray(verbose) as console:
        from workflows.loggers.search_terminal import SearchScreen
        from workflows.search.search import search as run

        checked = load(recipe, set_)
        check_name(name)
        with SearchScreen(console) as screen:
            run(checked, storage, name, workers, address, screen)


@app.command(epilog="Example: `python -m workflows prepare my_recipe.toml`")
def prepare(
    recipe: RecipeArgument = "demo",
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Prepare the datasets of a recipe and say what is in them; nothing is trained."""
    with errors_and_ray(verbose) as console:
        from workflows.loggers.terminal import Screen
        from workflows.relay.events import Preparing
        from workflows.results.number_format import counted
        from workflows.results.tables import prepared_tables
        from workflows.store.storage import open_storage
        from workflows.training.preparing import prepare_on

        checked, opened = load(recipe, set_), open_storage(storage)
        with Screen(console) as screen:
            screen(Preparing(checked.name))
            prepared = prepare_on(checked, opened, address, screen)
        for table in prepared_tables(prepared.datasets):
            console.print(table)
        for dataset in prepared.datasets:
            for warning in dataset.warnings:
                screen.say(f"warning: dataset {dataset.name!r}: {warning}", "yellow")
        console.print(
            f"{counted(len(prepared.datasets), 'dataset')} prepared in {prepared.seconds:.1f} s, "
            f"in {opened.address}/prepared"
        )
