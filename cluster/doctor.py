"""The doctor on the laptop: checks the address, the token and the versions, then runs a job that checks the nodes."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cluster.checks import Finding
from cluster.examine import from_log
from cluster.jobs import ask, exit_code, job_id
from cluster.package import make_package
from cluster.reach import ClusterError, connect_jobs, sends_in_the_clear
from cluster.submit import ON_A_CLUSTER

LIMIT_S = 300.0  # for the job
STYLES = {"ok": "green", "warning": "yellow", "fault": "red"}


def examine_cluster(
    address: str, storage: str, credentials: Mapping[str, str], say: Callable[[str], object]
) -> list[Finding]:
    """Return all findings; a single one with the reason if the cluster cannot be reached or refuses the token."""
    try:
        client = connect_jobs(address)
    except ClusterError as error:
        reason, _, todo = str(error).partition(": ")[2].partition(": ")
        return [Finding("reach", address, "fault", reason, todo)]
    findings = [Finding("reach", address, "ok", "answers, takes the token, has this machine's Ray")]
    if sends_in_the_clear(address):
        todo = "use a tunnel (ray dashboard, kubectl port-forward) or https"
        findings.append(Finding("token", address, "warning", "sent as plain text", todo))
    say("checking the nodes takes half a minute")
    log, info = _run_job(client, address, storage, credentials)
    from_job = from_log(log)
    if exit_code(info) != 0:
        words = (log.strip().splitlines() or [str(info.message)])[-1][:300]
        from_job.append(Finding("job", "the cluster", "fault", words, "python -m cluster logs JOB says more"))
    return [*findings, *from_job]


def _run_job(client: Any, address: str, storage: str, credentials: Mapping[str, str]) -> tuple[str, Any]:
    job = job_id("doctor", time.time(), uuid.uuid4().hex[:4])
    with tempfile.TemporaryDirectory(prefix="lstm-relay-") as scratch:
        package = make_package(Path(scratch), b"")
        env = {"working_dir": str(package.folder), "env_vars": {**ON_A_CLUSTER, **credentials}}
        words = f"python -m cluster examine {storage!r}"
        metadata = {"name": "doctor", "command": "doctor", "storage": storage}
        ask(lambda: client.submit_job(entrypoint=words, submission_id=job, runtime_env=env, metadata=metadata), address)
    started = time.monotonic()
    while not (info := ask(lambda: client.get_job_info(job), address, job)).status.is_terminal():
        if time.monotonic() - started > LIMIT_S:
            ask(lambda: client.stop_job(job), address, job)
            raise ClusterError(
                f"{address}: the doctor's job {job} has not ended within {LIMIT_S:.0f} s and is being stopped"
            )
        time.sleep(0.5)
    return ask(lambda: client.get_job_logs(job), address, job), info


def show_findings(findings: list[Finding]) -> None:
    """Print the findings as a table, faults last."""
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("check", "where", "", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for each in sorted(findings, key=lambda each: list(STYLES).index(each.status)):
        status = Text(each.status, style=STYLES[each.status])
        table.add_row(
            each.check, Text(each.where), status, Text(each.found), Text(each.todo)
        )  # Text: brackets are no markup
    Console(width=None if sys.stdout.isatty() else 200).print(table)
