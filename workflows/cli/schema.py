"""The command that helps an editor: schema."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from workflows.cli.application import app, errors_and_ray


@app.command(epilog="Example: `lstm-relay schema --output recipe.schema.json`")
def schema(
    output: Annotated[str | None, typer.Option(metavar="FILE", help="Output file; default: stdout.")] = None,
) -> None:
    """Print the JSON schema of a recipe, for completion and checks in an editor.

    Taplo and VS Code (Even Better TOML) use it if the first line of a recipe is `#:schema ./recipe.schema.json`.
    """
    with errors_and_ray() as console:
        from json import dumps

        from workflows.recipe.schema import recipe_schema
        from workflows.results.output_file import check_file, write_file

        content = dumps(recipe_schema(), indent=1) + "\n"
        if output is None:
            sys.stdout.write(content)
            return
        check_file("--output", output)
        write_file("--output", output, content)
        console.print(f'{output}: write "#:schema ./{output}" as the first line of a recipe', markup=False, soft_wrap=True)
