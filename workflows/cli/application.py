"""The application, the options that commands share, and the exit codes of errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workflows.cli.interrupts import INTERRUPTED, WORDS, Once, was_interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from workflows.recipe.recipe import Recipe

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False)
STORAGE = "runs"


def _complete_recipe(typed: str) -> list[str]:
    built_in = Path(__file__).parents[1] / "recipe" / "built_in"
    names = [path.stem for path in built_in.glob("*.toml")] + [str(path) for path in Path().glob("*.toml")]
    return sorted(name for name in names if name.startswith(typed))


def complete_run(context: typer.Context, typed: str) -> list[str]:
    """Return the names of runs in the storage, for shell completion."""
    storage = Path(str(context.params.get("storage") or STORAGE))
    runs = storage / "runs"
    return sorted(path.name for path in runs.iterdir() if path.name.startswith(typed)) if runs.is_dir() else []


RecipeArgument = Annotated[
    str,
    typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a built-in recipe.", autocompletion=_complete_recipe),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.", autocompletion=complete_run)]
NameOption = Annotated[str | None, typer.Option(help="Name of the run; default: the name in the recipe.")]
StorageOption = Annotated[str, typer.Option(help="Folder or URI (s3://...) of prepared data, checkpoints and runs.")]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Data-parallel workers; 0: the current process.")]
AddressOption = Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: a local Ray.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a recipe key.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", help="Show the messages of Ray.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        import platform
        from importlib.metadata import version

        packages = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch"))
        print(f"lstm-relay {version('lstm-relay')} (Python {platform.python_version()}, {packages})")  # noqa: T201
        raise typer.Exit()


@app.callback()
def main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train one LSTM over many datasets in sequence."""


def load(recipe: str, overrides: list[str] | None) -> Recipe:
    """Return the checked recipe of a file or a built-in name, with the overrides applied."""
    from workflows.recipe.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(recipe), overrides or [])


def load_untrained(recipe: str, overrides: list[str] | None) -> Recipe:
    """Return the recipe of a command that trains nothing: without workers, small local data are prepared without Ray."""
    import dataclasses

    checked = load(recipe, overrides)
    return dataclasses.replace(checked, compute=checked.compute.model_copy(update={"num_workers": 0}))


def check_name(name: str | None, option: str = "--name") -> None:
    """Raise InputError if the name cannot be a folder name."""
    from data.errors import InputError
    from workflows.recipe.recipe import name_problems

    if name is not None and name_problems(name):
        raise InputError([f"{option} {problem}" for problem in name_problems(name)])


@contextlib.contextmanager
def errors_and_ray(verbose: bool = False) -> Iterator[Console]:
    """Turn errors into exit codes and shut Ray down at the end; `verbose` shows the messages of Ray."""
    # Until these are loaded Ctrl-C ends the process at once.
    from rich.console import Console

    from cluster.connect import VERBOSE, disconnect, set_environment
    from data.errors import FailedError, InputError
    from workflows.cli.failures import discard_stdout, open_missing_streams, print_error, system_error

    set_environment()
    if verbose:
        os.environ[VERBOSE] = "1"
    open_missing_streams()
    once = None
    try:
        once = Once()
        # A file or a job's log has no width: tables are not wrapped there. Names are no markup.
        yield Console(width=None if sys.stdout.isatty() else 160, markup=False)
        sys.stdout.flush()  # notice a full disk or a closed pipe here, not at the exit
    except InputError as error:
        for message in error.messages:
            print_error(f"error: {message}")
        raise typer.Exit(2) from None
    except FailedError as error:
        print_error(f"error: {error}")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print_error(WORDS)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        print_error("error: stdout was closed before everything was written")
        discard_stdout()
        raise typer.Exit(1) from None
    except Exception as error:
        if was_interrupted(error):
            print_error(WORDS)
            raise typer.Exit(INTERRUPTED) from None
        words = system_error(error)
        if words is None:
            raise
        print_error(f"error: {words}")
        discard_stdout()
        raise typer.Exit(1) from None
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C does not cut off the end of Ray
        disconnect()
        signal.signal(signal.SIGINT, before)
        if once is not None:
            once.restore()
