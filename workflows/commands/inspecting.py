"""The command that looks at the datasets of a recipe: inspect."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import typer

from workflows.commands.command_line import (
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
        from workflows.chain.storage import open_storage
        from workflows.inspection.facts import inspect_datasets
        from workflows.inspection.tables import inspection
        from workflows.named_file import check_file, write_file
        from workflows.preparation import prepare_datasets
        from workflows.screen import Screen

        checked, storage = load(recipe, set_), open_storage(storage).address
        if json is not None:
            check_file("--json", json)
        with Screen(console) as screen:
            screen({"event": "preparing", "recipe": checked.name})
            prepared = prepare_datasets(checked, storage, address)
            facts = inspect_datasets([dataset.prepared for dataset in prepared.datasets], checked.order)
        if json is not None:
            write_file("--json", json, dumps(facts, indent=1) + "\n")
        for part in inspection(facts, console.width):
            console.print(part)
        for dataset in facts["datasets"]:
            for warning in dataset["warnings"]:
                screen.say(f"warning: dataset {dataset['name']!r}: {warning}", "yellow")
