"""The command line: python -m workflows COMMAND. Each command imports what it needs, so that --help is quick."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from workflows.recipe import Recipe

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

RecipeArgument = Annotated[str, typer.Argument(metavar="RECIPE", help="A TOML file, or the name of a built-in recipe.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the run; the recipe's own unless given.")]
StorageOption = Annotated[str, typer.Option(help="Folder or address (s3://...) of prepared data, checkpoints and runs.")]
WorkersOption = Annotated[int | None, typer.Option(min=0, help="Data-parallel workers; 0: in this process.")]
AddressOption = Annotated[str | None, typer.Option(help="A Ray cluster; one of this process's own unless given.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")]
STORAGE = "runs"


@app.callback()
def main() -> None:
    """Train one LSTM over many datasets in sequence."""


@app.command(epilog="Example: `python -m workflows train demo --set training.decay_rate=0.7`")
def train(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: WorkersOption = None,
    address: AddressOption = None,
    set_: SetOption = None,
) -> None:
    """Prepare the datasets, fit them in sequence, measure all of them after each.

    Epochs that the store holds are not trained again: the same command resumes a run that was interrupted.
    """
    with _errors_and_ray() as console:
        from workflows.screen import Screen
        from workflows.train import train as run

        checked = _load(recipe, set_)
        _check_name(name)
        with Screen(console) as screen:
            run(checked, storage, name, workers, address, screen)


@app.command(epilog="Example: `python -m workflows search demo`")
def search(
    recipe: RecipeArgument = "demo",
    name: NameOption = None,
    storage: StorageOption = STORAGE,
    workers: Annotated[int | None, typer.Option(min=0, help="Data-parallel workers of each trial; 0: its process.")] = None,
    address: AddressOption = None,
    set_: SetOption = None,
) -> None:
    """Try what the recipe's \\[search] describes; trials share every epoch that they agree on.

    Epochs that the store holds are not trained again: the same command goes on with a search that was interrupted.
    """
    with _errors_and_ray() as console:
        from workflows.search.screen import SearchScreen
        from workflows.search.search import search as run

        checked = _load(recipe, set_)
        _check_name(name)
        with SearchScreen(console) as screen:
            run(checked, storage, name, workers, address, screen)


@app.command(epilog="Example: `python -m workflows prepare my_recipe.toml`")
def prepare(
    recipe: RecipeArgument = "demo", storage: StorageOption = STORAGE, address: AddressOption = None, set_: SetOption = None
) -> None:
    """Prepare the datasets of a recipe and say what is in them; nothing is trained."""
    with _errors_and_ray() as console:
        from workflows.chain.storage import open_storage
        from workflows.screen import Screen, counted
        from workflows.summary import prepared_table
        from workflows.train import prepare_datasets

        checked, storage = _load(recipe, set_), open_storage(storage).address
        with Screen(console) as screen:
            screen({"event": "preparing", "recipe": checked.name})
            prepared = prepare_datasets(checked, storage, address)
        console.print(prepared_table(prepared.datasets))
        for dataset in prepared.datasets:
            for warning in dataset.prepared.manifest["warnings"]:
                console.print(f"warning: dataset {dataset.name!r}: {warning}", style="yellow", markup=False, soft_wrap=True)
        console.print(
            f"{counted(len(prepared.datasets), 'dataset')} prepared in {prepared.seconds:.1f} s, in {storage}/prepared"
        )


@app.command(epilog="Example: `python -m workflows runs`")
def runs(storage: StorageOption = STORAGE) -> None:
    """List the runs of a storage, the latest first."""
    with _errors_and_ray() as console:
        from workflows.chain.store import Store
        from workflows.summary import runs_table

        found = Store(storage).runs()
        if found:
            console.print(runs_table(found))
        else:
            console.print(f"There is no run in {storage} yet: python -m workflows train demo makes one.")


@app.command(epilog="Example: `python -m workflows log demo`")
def log(name: Annotated[str, typer.Argument(help="Name of a run.")], storage: StorageOption = STORAGE) -> None:
    """Show the chain of epochs of a run: dataset, epoch, rate, errors, address, when, seconds."""
    with _errors_and_ray() as console:
        from data.errors import InputError
        from workflows.chain.store import Store
        from workflows.summary import log_table

        store = Store(storage)
        found = store.runs()
        if name not in found:
            raise InputError(f"{name}: there is no such run in {storage}: it has {', '.join(found) or 'none'}")
        console.print(log_table(store, found[name]))


@app.command(epilog="Example: `python -m workflows rollback demo --to plant_birch`")
def rollback(
    name: Annotated[str, typer.Argument(help="Name of a run.")],
    to: Annotated[str, typer.Option(help="The stage to go back to the end of: a dataset's name, or its number.")],
    storage: StorageOption = STORAGE,
) -> None:
    """Point a run at the end of an earlier stage; its later epochs stay in the store until `clean`."""
    with _errors_and_ray() as console:
        from workflows.chain.housekeeping import roll_back
        from workflows.chain.store import Store

        result = roll_back(Store(storage), name, to)
        last = result["stages"][-1]["dataset"]
        console.print(
            f"{name} stands at the end of {last} ({len(result['stages'])} stages), address {result['key']}", soft_wrap=True
        )
        console.print(
            f"It stood at {result['rolled_back_from']}; train it again to go there, before clean without training.",
            soft_wrap=True,
        )


@app.command(epilog="Example: `python -m workflows clean --dry-run`")
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    storage: StorageOption = STORAGE,
) -> None:
    """Remove checkpoints and prepared data that no run reaches, and say what that was."""
    with _errors_and_ray() as console:
        from workflows.chain.housekeeping import clean as clean_up
        from workflows.chain.store import Store
        from workflows.screen import counted

        removed = clean_up(Store(storage), dry_run)
        for leftover in removed:
            console.print(f"{leftover.path}  {leftover.what}  {leftover.bytes:,} bytes", soft_wrap=True, highlight=False)
        total = sum(leftover.bytes for leftover in removed)
        verb = "would be removed" if dry_run else "removed"
        console.print(f"{counted(len(removed), 'thing')}, {total:,} bytes {verb}; what runs reach stands.")


def _load(recipe: str, overrides: list[str] | None) -> Recipe:
    from workflows.recipe import find_recipe, load_recipe

    return load_recipe(find_recipe(recipe), overrides or [])


def _check_name(name: str | None) -> None:
    from data.errors import InputError
    from workflows.recipe import name_problems

    if name is not None and name_problems(name):
        raise InputError([f"--name {problem}" for problem in name_problems(name)])


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _errors_and_ray() -> Iterator[Console]:
    """Turn the errors that have an exit code into it, and leave Ray at the end."""
    from rich.console import Console

    from data.errors import InputError

    def complain(text: str) -> None:
        sys.stdout.flush()
        print(text, file=sys.stderr)  # noqa: T201

    from cluster.connect import disconnect, set_environment

    set_environment()
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
        if "workflows.train" in sys.modules:
            from workflows.workers import RunFailedError

            if isinstance(error, RunFailedError):
                complain(f"error: {error}")
                raise typer.Exit(1) from None
        raise
    finally:
        disconnect()


if __name__ == "__main__":
    app(prog_name="python -m workflows")
