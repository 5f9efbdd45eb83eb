"""The commands that run a recipe: train, search, prepare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
    load_untrained,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from workflows.results.events import Watch
    from workflows.results.run_result import RunResult


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
        from workflows.training.run import train as run

        checked = load(recipe, set_)
        check_name(name)
        _show(console, storage, lambda watch: run(checked, storage, name, workers, address, watch))


@app.command(epilog="Example: `lstm-relay extend pumps --path south.csv --dataset south --learning-rate 1e-3`")
def extend(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a finished run.")],
    path: Annotated[list[str], typer.Option(metavar="FILES", help="Files, globs or addresses of the new dataset.")],
    dataset: Annotated[str, typer.Option(help="Name of the new dataset.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the new dataset; default training.epochs.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate of the new dataset; may be higher than the carried one.")
    ] = None,
    storage: StorageOption = STORAGE,
    workers: WorkersOption = None,
    address: AddressOption = None,
    set_: SetOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Append one dataset to a run and train on it. Files of earlier datasets are not needed.

    Only the epochs of the new dataset are trained.
    """
    with errors_and_ray(verbose) as console:
        check_name(name, "RUN")
        from workflows.training.extend import extend as run

        _show(
            console,
            storage,
            lambda watch: run(
                storage,
                name,
                dataset,
                path,
                epochs=epochs,
                learning_rate=learning_rate,
                overrides=set_ or [],
                num_workers=workers,
                address=address,
                watch=watch,
            ),
        )


def _show(console: Console, storage: str, train_with: Callable[[Watch], RunResult]) -> None:
    """Train on the screen, with the page for trackers; exit code 1 if the guard stopped the run."""
    from workflows.loggers.terminal import Screen
    from workflows.report.attached import with_page

    with Screen(console) as screen:
        result = train_with(with_page(screen, storage))
    if result.status == "stopped":
        raise typer.Exit(1)


@app.command(epilog="Example: `lstm-relay compare pumps`")
def compare(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of a finished run.")],
    storage: StorageOption = STORAGE,
    workers: WorkersOption = None,
    address: AddressOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Train the same model on all datasets at once (joint) and on each alone (separate), and show them beside the run.

    Epochs in the store are reused. The figures are written to compare.json and shown by `report`.
    """
    with errors_and_ray(verbose) as console:
        check_name(name, "RUN")
        from workflows.results.comparison import comparison_table
        from workflows.training.compare import compare as run

        figures = run(storage, name, workers, address)
        console.print(comparison_table(figures))
        console.print(f"{figures.epochs_trained} epochs trained now; runs/{name}/compare.json", highlight=False)


@app.command(epilog="Example: `lstm-relay search demo`")
def search(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Data-parallel workers of each trial; 0: the trial's process.")
    ] = None,
    address: AddressOption = None,
    set_: SetOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show the trials, their epochs, how many of them are in the store, and the time; start nothing.",
        ),
    ] = False,
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
        if dry_run:
            from workflows.search.estimate import estimate, estimate_words

            console.print(estimate_words(estimate(checked, storage, workers)), highlight=False)
            return
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

        checked, store = load_untrained(recipe, set_), Store(storage)
        with Screen(console) as screen, store.using("prepare") as usage:
            screen(Preparing(checked.name))
            prepared = prepare_on(checked, store.storage, address, screen, before=lambda: usage.begin(make=True))
        for table in prepared_tables(prepared.datasets):
            console.print(table)
        for dataset in prepared.datasets:
            for warning in dataset.warnings:
                screen.say(f"warning: dataset {dataset.name!r}: {warning}", "yellow")
        console.print(
            f"{counted(len(prepared.datasets), 'dataset')} prepared in {prepared.seconds:.1f} s, in {store.address}/prepared"
        )
