"""What all commands share: the application, their options, and how their errors end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from workflows.recipe.recipe import Recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a built-in recipe.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the run; the recipe's own unless given.")]
StorageOption = Annotated[str, typer.Option(help="Folder or address (s3://...) of prepared data, checkpoints and runs.")]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Data-parallel workers; 0: in this process.")]
AddressOption = Annotated[str | None, typer.Option(help="A Ray cluster; one of this process's own unless given.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show what Ray says, too.")]
STORAGE = "runs"


@app.callback()
def main() -> None:
    """Train one LSTM over many datasets in sequence."""


def load(recipe: str, overrides: list[str] | None) -> Recipe:
    """The checked recipe of a file or a built-in name, with the overrides of the command line."""
    from workflows.recipe.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(recipe), overrides or [])


def check_name(name: str | None) -> None:
    """Refuse a name that cannot be a folder's."""
    from data.errors import InputError
    from workflows.recipe.recipe import name_problems

    if name is not None and name_problems(name):
        raise InputError([f"--name {problem}" for problem in name_problems(name)])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def errors_and_ray(verbose: bool = False) -> Iterator[Console]:
    """Turn the errors that have an exit code into it, and leave Ray at the end; `verbose` shows what Ray says."""
    from rich.console import Console

    from data.errors import InputError

    def complain(text: str) -> None:
        sys.stdout.flush()
        print(text, file=sys.stderr)  # noqa: T201

    from cluster.connect import VERBOSE, disconnect, set_environment

    set_environment()
    if verbose:
        os.environ[VERBOSE] = "1"
    signal.signal(signal.SIGTERM, _interrupt)  # as a cluster stops a job: the same as Ctrl-C
    try:
        # A file or a job's log has no width of its own: tables are not folded there.
        yield Console(width=None if sys.stdout.isatty() else 160)
    except InputError as error:
        for message in error.messages:
            complain(f"error: {message}")
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        complain("interrupted; the same command goes on from the last epoch that is in the store")
        raise typer.Exit(130) from None
    except Exception as error:
        if "workflows.training.workers" in sys.modules:
            from workflows.relay.failures import RunFailedError

            if isinstance(error, RunFailedError):
                complain(f"error: {error}")
                raise typer.Exit(1) from None
        raise
    finally:
        disconnect()
