"""The commands for a Ray cluster: `python -m cluster COMMAND`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", pretty_exceptions_enable=False)

AddressOption = Annotated[
    str, typer.Option(help="URL of the cluster's dashboard: http://HEAD:8265.", envvar="RAY_API_SERVER_ADDRESS")
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Job id, as printed by `submit`.")]


class Command(StrEnum):
    """What a job does."""

    train = "train"
    search = "search"
    prepare = "prepare"


@app.callback()
def main() -> None:
    """Run lstm-relay on a Ray cluster through its job API. The token is read from where Ray keeps it."""


def say(text: str, error: bool = False) -> None:
    """Print a line at once."""
    print(text, file=sys.stderr if error else sys.stdout, flush=True)


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Turn errors of the input or the cluster into one message each and exit code 2."""
    from cluster.reach import ClusterError
    from data.errors import InputError

    try:
        yield
    except (InputError, ClusterError) as error:
        for message in str(error).splitlines():
            say(f"error: {message}", error=True)
        raise typer.Exit(2) from None


@app.command(
    epilog="Example: `python -m cluster submit demo --address http://127.0.0.1:8265 --storage s3://bucket/runs --wait`"
)
def submit(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="TOML file, or name of a built-in recipe.")],
    address: AddressOption,
    storage: Annotated[str, typer.Option(help="Address (s3://...) of prepared data, checkpoints and runs.")],
    command: Annotated[Command, typer.Option(help="What the job does.")] = Command.train,
    name: Annotated[str | None, typer.Option(help="Name of the run; default: the name in the recipe.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Data-parallel workers (of each trial of a search).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Environment variable to pass to the job, by name.")
    ] = None,
    ship_data: Annotated[bool, typer.Option("--ship-data", help="Upload local data files to the storage first.")] = False,
    shared_folders: Annotated[
        bool, typer.Option("--shared-folders", help="Absolute paths are shared folders that every machine mounts.")
    ] = False,
    install: Annotated[bool, typer.Option("--install", help="Install the pinned packages when the job starts.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the log and exit with the job's exit code.")] = False,
) -> None:
    """Send the code and a recipe to a cluster and run it there.

    Credentials are passed by name (--env AWS_ACCESS_KEY_ID) and are written to no file of the run. Epochs in the storage
    are not trained again: submit the same recipe once more to resume a job that stopped.
    """
    with errors():
        from cluster.jobs import check_credentials
        from cluster.reach import connect_jobs, sends_in_the_clear
        from cluster.submit import Order, send
        from workflows.cli.application import check_name, load
        from workflows.recipe.ship_files import at_addresses, ship_files
        from workflows.recipe.shipping import check_shared_storage, pack_recipe

        check_name(name)
        checked = load(recipe, set_)
        storage = check_shared_storage(storage, shared_folders)
        document, files = pack_recipe(checked, ship_data, shared_folders)
        credentials = check_credentials(env or [])
        client = connect_jobs(address)
        if sends_in_the_clear(address):
            say(
                f"warning: {address} is plain http, which shows the token to anyone who listens: use https or a tunnel",
                error=True,
            )
        if files:
            shipment = ship_files(files, storage, say)
            say(shipment.words(storage))
            document = at_addresses(document, shipment.addresses)
        order = Order(command.value, document, name or checked.name, storage, workers, credentials, install)
        job = send(client, address, order, say)
        if not wait:
            say(f"follow it: python -m cluster logs {job} --follow --address {address}")
            say(f"stop it:   python -m cluster stop {job} --address {address}")
            return
        code = _follow(client, address, job)
    raise typer.Exit(code)


def _follow(client: Any, address: str, job: str) -> int:
    """Show the job's log until it ends; Ctrl-C asks whether to stop the job too. Returns the exit code."""
    from cluster.jobs import ask, describe, exit_code, follow

    try:
        follow(client, job, lambda text: (sys.stdout.write(text), sys.stdout.flush()))
    except KeyboardInterrupt:
        with contextlib.suppress(KeyboardInterrupt, typer.Abort):
            if sys.stdin.isatty() and typer.confirm(f"\nStop the job {job} too?", default=False):
                ask(lambda: client.stop_job(job), address, job)
                say(f"{job} is being stopped; submit it again to resume from the last epoch in the store")
                return 130
        say(f"\n{job} continues. Follow it: python -m cluster logs {job} --follow --address {address}")
        return 130
    info = ask(lambda: client.get_job_info(job), address, job)
    facts = describe(info)
    if (code := exit_code(info)) == 0:
        say(f"{job} has succeeded after {facts['for']}")
    else:
        say(f"error: {job}: {facts['status'].lower()} after {facts['for']}: {facts['message']}", error=True)
    return code


@app.command(epilog="Example: `python -m cluster status --address http://127.0.0.1:8265`")
def status(
    address: AddressOption,
    job: Annotated[str | None, typer.Argument(metavar="[JOB]", help="Job id; default: all jobs.")] = None,
) -> None:
    """Show the status of a job, or of all jobs of the cluster, newest first."""
    with errors():
        from cluster.jobs import ask, describe
        from cluster.reach import connect_jobs

        client = connect_jobs(address)
        if job is None:
            infos = ask(client.list_jobs, address)
            infos = sorted((each for each in infos if each.submission_id), key=lambda each: -(each.start_time or 0))
        else:
            infos = [ask(lambda: client.get_job_info(job), address, job)]
        for facts in map(describe, infos):
            say(f"{facts['job']}  {facts['status']}  {facts['for']}  {facts['message']}".rstrip())
        if not infos:
            say("No jobs on this cluster yet. Try: python -m cluster submit demo")


@app.command(epilog="Example: `python -m cluster logs JOB --follow --address http://127.0.0.1:8265`")
def logs(
    job: JobArgument,
    address: AddressOption,
    follow: Annotated[bool, typer.Option("--follow", help="Follow until the job ends and exit with its exit code.")] = False,
) -> None:
    """Show the log of a job."""
    with errors():
        from cluster.jobs import ask
        from cluster.reach import connect_jobs

        client = connect_jobs(address)
        if not follow:
            sys.stdout.write(ask(lambda: client.get_job_logs(job), address, job))
            return
        ask(lambda: client.get_job_info(job), address, job)
        code = _follow(client, address, job)
    raise typer.Exit(code)


@app.command(epilog="Example: `python -m cluster stop JOB --address http://127.0.0.1:8265`")
def stop(job: JobArgument, address: AddressOption) -> None:
    """Stop a job. Its committed epochs are kept: submit it again to resume."""
    with errors():
        from cluster.jobs import ask, wait_for_end
        from cluster.reach import connect_jobs

        client = connect_jobs(address)
        if not ask(lambda: client.stop_job(job), address, job):
            say(f"{job} has already ended")
            return
        say(f"{job}: {wait_for_end(client, address, job)}")


@app.command(epilog="Example: `python -m cluster doctor --address http://127.0.0.1:8265 --storage s3://bucket/runs`")
def doctor(
    address: AddressOption,
    storage: Annotated[str, typer.Option(help="Address (s3://...) of prepared data, checkpoints and runs.")],
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Environment variable to pass to the job, by name.")
    ] = None,
    shared_folders: Annotated[
        bool, typer.Option("--shared-folders", help="The storage is a folder that every machine mounts.")
    ] = False,
) -> None:
    """Check what a run needs: print a table of faults with their remedies; exit with 1 if there is one.

    Checked from here: address, token and versions. Checked by a job on the cluster: packages, clocks, disks and GPUs of
    each node, access to the storage and its speed, and a sum over two nodes.
    """
    with errors():
        from cluster.doctor import examine_cluster, show_findings
        from cluster.jobs import check_credentials
        from workflows.recipe.shipping import check_shared_storage

        findings = examine_cluster(address, check_shared_storage(storage, shared_folders), check_credentials(env or []), say)
        show_findings(findings)
    raise typer.Exit(1 if any(each.status == "fault" for each in findings) else 0)


@app.command(hidden=True)
def examine(storage: str) -> None:
    """Print each finding as a line: what `doctor` runs on the cluster."""
    from cluster.checks import Finding
    from cluster.connect import connect
    from cluster.examine import as_line
    from cluster.examine import examine as ask
    from cluster.versions import ask_nodes
    from workflows.store.probe import rights_and_speed

    connect("auto")
    for finding in ask():
        say(as_line(finding))
    for name, answer in ask_nodes(rights_and_speed, storage).items():
        fields = answer if isinstance(answer, dict) else {"status": "fault", "found": str(answer), "todo": ""}
        say(as_line(Finding("storage", name, **fields)))
