"""The command that looks at the datasets of a recipe: inspect."""

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
    load,
)


@app.command(epilog="Example: `python -m workflows inspect beijing --json beijing.json`")
def inspect(
    recipe: RecipeArgument = "demo",
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    set_: SetOption = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write all of it to a file, too, as JSON.")] = None,
    verbose: VerboseOption = False,
) -> None:
    """Say what is in the datasets of a recipe, how far they lie apart, and in which order to train them."""
    with errors_and_ray(verbose) as console:
        from workflows.cli.inspection_tables import inspection
        from workflows.loggers.terminal import Screen
        from workflows.prepare.inspection import inspect_datasets
        from workflows.prepare.preparation import prepare_datasets
        from workflows.relay.events import Preparing
        from workflows.results.output_file import check_file, write_file
        from workflows.store.storage import open_storage

        checked, storage = load(recipe, set_), open_storage(storage).address
        if json is not None:
            check_file("--json", json)
        with Screen(console) as screen:
            screen(Preparing(checked.name))
            prepared = prepare_datasets(checked, storage, address)
            facts = inspect_datasets([dataset.prepared for dataset in prepared.datasets], checked.order)
        if json is not None:
            write_file("--json", json, dumps(facts, indent=1) + "\n")
        for part in inspection(facts, console.width):
            console.print(part)
        for dataset in facts["datasets"]:
            for warning in dataset["warnings"]:
                screen.say(f"warning: dataset {dataset['name']!r}: {warning}", "yellow")
