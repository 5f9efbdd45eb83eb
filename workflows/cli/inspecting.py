"""The command inspect."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import typer

from workflows.cli.application import (
    STORAGE,
    AddressOption,
    RecipeArgument,
    SetOption,
    StorageOption,
    VerboseOption,
    app,
    errors_and_ray,
    load_untrained,
)


@app.command(epilog="Example: `lstm-relay inspect beijing --json beijing.json`")
def inspect(
    recipe: RecipeArgument = "demo",
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    set_: SetOption = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Also write everything to a JSON file.")] = None,
    verbose: VerboseOption = False,
) -> None:
    """Show the datasets of a recipe, the distances between them, and a suggested training order."""
    with errors_and_ray(verbose) as console:
        from workflows.cli.inspection_tables import inspection
        from workflows.loggers.terminal import Screen
        from workflows.prepare.inspection import inspect_datasets
        from workflows.prepare.preparation import prepare_datasets
        from workflows.relay.events import Noticed, Preparing
        from workflows.results.output_file import check_file, write_file
        from workflows.store.store import Store

        checked, store = load_untrained(recipe, set_), Store(storage)
        if json is not None:
            check_file("--json", json)
        with Screen(console) as screen, store.using("inspect"):
            screen(Preparing(checked.name))
            prepared = prepare_datasets(checked, store.address, address, tell=lambda words: screen(Noticed(words)))
            num_trained = sum(count > 0 for count in prepared.epochs)
            inspected = inspect_datasets([dataset.prepared for dataset in prepared.datasets], checked.order, num_trained)
        if json is not None:
            write_file("--json", json, dumps(inspected.to_json(), indent=1) + "\n")
        for part in inspection(inspected, console.width):
            console.print(part)
        for dataset in inspected.datasets:
            for warning in dataset.warnings:
                screen.say(f"warning: dataset {dataset.name!r}: {warning}", "yellow")
