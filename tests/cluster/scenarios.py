"""Program with named scenarios on a cluster of three machines, run in new namespaces (support/machines.py).

    scenarios.py NAME ...

Prints a line of JSON with the facts of each. The machines share the S3 server and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from machines import DASHBOARD, Machine, World, num_nodes, three_nodes, wait_until, world

from workflows.store.store import Store

Facts = dict[str, Any]
STORAGE = "s3://relay/runs"
KEYS = [word for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") for word in ("--env", name)]
CLUSTER = ["--address", DASHBOARD, "--storage", STORAGE, *KEYS]
TWO_PLANTS = ["--set", "datasets.{file}.path={built_in}/plants/plant_[ab]*.csv", "--set", "data.stride=6"]


class Job:
    """A submitted run, seen from the laptop."""

    count = 0

    def __init__(self, made: World, name: str, *words: str, command: str = "train"):
        self.world, self.name, self.store = made, name, Store(STORAGE)
        Job.count += 1
        # Each job has another seed, as the store has the epochs of earlier scenarios.
        seed = ["--set", f"seed={Job.count}"]
        self.process = made.start(
            "submit", "demo", *CLUSTER, *TWO_PLANTS, *seed, "--name", name, "--command", command, *words, "--wait"
        )
        self.lines: list[tuple[float, str]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip()))

    def time_of(self, words: str, after: float = 0.0) -> float | None:
        """Return the time of the first line with these words after a moment; None if there is none."""
        return next((when for when, line in list(self.lines) if when > after and words in line), None)

    def wait_for(self, words: str, seconds: float = 120.0, after: float = 0.0) -> float:
        """Wait until the job prints these words; return the time of the line."""
        with contextlib.suppress(TimeoutError):
            wait_until(words, lambda: self.time_of(words, after) is not None or self.process.poll() is not None, seconds)
        when = self.time_of(words, after)
        assert when is not None, f"{words!r} was not said within {seconds:.0f} s:\n" + self.text()
        return when

    def text(self) -> str:
        return "\n".join(line for _, line in list(self.lines))

    def longest_silence(self, since: float, until: float) -> float:
        """Return the longest time between two lines."""
        times = [since, *(when for when, _ in list(self.lines) if since < when < until), until]
        return max(b - a for a, b in itertools.pairwise(times))

    def stop(self) -> None:
        job = next(line.split()[1] for _, line in self.lines if line.startswith("submitted "))
        self.world.cluster("stop", job, "--address", DASHBOARD)
        self.process.wait(60)


def long_job(made: World, name: str, workers: int) -> Job:
    """Start a run that goes on until it is stopped, and wait for its third epoch."""
    job = Job(made, name, "--workers", str(workers), "--set", "training.epochs=5000")
    job.wait_for("epoch 3/5000", 300)
    return job


def go_on_after(job: Job, spoil: Callable[[], None]) -> Facts:
    """Disturb a run, and measure how long it takes until it trains an epoch with another group."""
    at = time.monotonic()
    spoil()
    lost = job.wait_for("workers were lost", 200, at)
    again = job.wait_for("epoch ", 200, lost)
    return {
        "seconds": again - at, "known": lost - at, "silent": job.longest_silence(at, again), "start": started_in(job),
        "text": job.text(),
    }  # fmt: skip


def placed(made: World) -> Facts:
    """Run more workers than a node has cores, on machines with names that resolve to 127.0.1.1."""
    at = time.monotonic()
    job = Job(made, "placed", "--workers", "3", "--set", "training.epochs=1")
    code = job.process.wait(300)
    return {"code": code, "seconds": time.monotonic() - at, "text": job.text()}


def three_workers(made: World) -> Facts:
    """Run more workers than a node has cores, on machines with names that resolve to 127.0.1.1; then a node loses power."""
    job = long_job(made, "three", 3)
    facts = go_on_after(job, made.machines["w2"].kill)
    job.stop()
    return facts


def unplugged(made: World) -> Facts:
    job = long_job(made, "unplugged", 2)
    facts = go_on_after(job, made.machines["w2"].unplug)
    job.stop()
    return facts


def added(made: World) -> Facts:
    """Add a node to a run that goes on with one worker."""
    job = long_job(made, "added", 2)
    go_on_after(job, made.machines["w2"].kill)
    at = time.monotonic()
    made.add("w3", 13, 1)
    grown = job.wait_for("continuing with 2 workers (1 before)", 300, at)
    job.stop()
    return {"seconds": grown - at, "start": started_in(job), "text": job.text()}


def started_in(job: Job) -> float:
    """Return the seconds from the first placement to the first epoch: a measure of how busy this machine is."""
    placed, first = job.time_of("training in"), job.time_of("epoch 1/")
    assert placed is not None
    assert first is not None
    return first - placed


def driver_killed(made: World) -> Facts:
    """Kill the process of a run on the head; the run is shown as interrupted, and the same command resumes it."""
    job = long_job(made, "killed", 2)
    wait_until("ray.log is in the storage", lambda: "ray.log" in job.store.storage.names("runs/killed"), 60)
    head = made.machines["head"]
    pids = head.shell("pgrep -f '[w]orkflows train' || true").split()
    head.shell(f"kill -9 {' '.join(pids)} || true")
    job.process.wait(120)
    store = Store(STORAGE)
    from workflows.store.alive import as_seen

    raw = json.loads(store.storage.read("runs/killed/progress.json"))
    later = as_seen(raw, time.time() + 200)
    wait_until("the workers of the killed run have ended", lambda: not _workers(made), 90)
    Job.count -= 1  # the same seed
    at = time.monotonic()
    again = Job(made, "killed", "--workers", "2", "--set", "training.epochs=1")
    again.process.wait(300)
    return {
        "seconds": time.monotonic() - at, "code": job.process.returncode,
        "status": later["status"], "log": "ray.log" in store.storage.names("runs/killed"),
        "again": again.process.returncode, "text": again.text(),
    }  # fmt: skip


def _workers(made: World) -> list[str]:
    return [line for m in made.machines.values() for line in m.shell("pgrep -af '[R]ayTrainWorker' || true").splitlines()]


def store_away(made: World) -> Facts:
    """Stop the object store for 20 s, in the preparation of a run and in its fit."""
    job = Job(made, "away", "--workers", "2", "--set", "training.epochs=3000", "--set", "data.stride=5")
    job.wait_for("Running entrypoint", 60)
    wait_until("the preparation has begun", lambda: prepares(made) or job.time_of("datasets prepared"), 120)
    first, back = away(made)
    prepared = job.wait_for("datasets prepared", 200)
    job.wait_for("epoch 3/", 300)
    second, again = away(made)
    waiting = job.wait_for("waiting for the storage", 60, second)
    fitted = job.wait_for("epoch ", 100, again)
    job.stop()
    return {
        "prepared": prepared - back, "seconds": fitted - again, "said": waiting - second,
        "silent": max(job.longest_silence(first, prepared), job.longest_silence(second, fitted)),
        "start": started_in(job), "text": job.text(),
    }  # fmt: skip


def away(made: World, seconds: float = 20.0) -> tuple[float, float]:
    """Stop the store for a while; return the times of its stop and its return."""
    made.pause_store()
    at = time.monotonic()
    time.sleep(seconds)
    made.resume_store()
    return at, time.monotonic()


def prepares(made: World) -> bool:
    """Return whether a task of a preparation runs."""
    return any("Map" in tasks(made.machines[name]) for name in ("w1", "w2"))


def prepare_killed(made: World) -> Facts:
    """Kill a node while it prepares."""
    job = Job(made, "prepared", "--workers", "1", "--set", "training.epochs=1", "--set", "data.stride=4")
    job.wait_for("Running entrypoint", 60)
    wait_until("a task runs on w2", lambda: "Map" in tasks(made.machines["w2"]), 120)
    at = time.monotonic()
    made.machines["w2"].kill()
    done = job.wait_for("datasets prepared", 120, at)
    code = job.process.wait(200)
    return {"seconds": done - at, "silent": job.longest_silence(at, done), "code": code, "text": job.text()}


def tasks(machine: Machine) -> str:
    return machine.shell("ps -eo args | grep '[r]ay::' || true")


def missing_bucket(made: World) -> Facts:
    at = time.monotonic()
    code, text = made.cluster("submit", "demo", "--address", DASHBOARD, "--storage", "s3://absent/runs", *KEYS, "--wait")
    return {"code": code, "seconds": time.monotonic() - at, "text": text}


def searched_and_extended(made: World) -> Facts:
    """Run a search, then a run, then the same run with one more dataset: only that one is trained."""
    searched = Job(made, "search", "--set", "search.decay_rate=[0.5, 0.9]", "--set", "training.epochs=1", command="search")
    run = None
    code = searched.process.wait(300)
    run = Job(made, "extended", "--workers", "2", "--set", "training.epochs=1")
    first = run.process.wait(240)
    more = ["--set", "datasets.{file}.path={built_in}/plants/plant_[abc]*.csv", "--set", f"seed={Job.count}"]
    process = made.start("submit", "demo", *CLUSTER, *more, "--set", "data.stride=6", "--name", "extended", "--workers", "2",
                         "--set", "training.epochs=1", "--wait")  # fmt: skip
    text = process.communicate(timeout=300)[0]
    return {"search": code, "first": first, "second": process.returncode, "text": searched.text() + run.text() + text}


# Sets the clock of all Python processes of a machine 90 s ahead, as a namespace shares the time of day.
CLOCK_AHEAD = (
    "mkdir -p /tmp/clock && printf 'import time\\nnow = time.time\\ntime.time = lambda: now() + 90\\n' "
    "> /tmp/clock/sitecustomize.py; export PYTHONPATH=/tmp/clock"
)
SPOILT = {
    # The cache of a worker is a file system of 100 kB, too small for the data that it fetches.
    "disk_full": {"w2": "mkdir -p $HOME/.cache/lstm-relay && mount -t tmpfs -o size=100k tmpfs $HOME/.cache/lstm-relay"},
    # Each fault that the doctor must find on w1 or w2; both connect over a network that does not reach the other.
    "examined": {
        "w1": f"{CLOCK_AHEAD}; export GLOO_SOCKET_IFNAME=lo START_OPTIONS=--num-gpus=1",
        "w2": "for each in {site}/safetensors*; do mount -t tmpfs -o size=4k tmpfs $each; done; "
        "mkdir -p $HOME/.cache/lstm-relay && mount -t tmpfs -o size=100k tmpfs $HOME/.cache/lstm-relay; "
        "export GLOO_SOCKET_IFNAME=lo",
    },
    "package_missing": {"w2": "for each in {site}/safetensors*; do mount -t tmpfs -o size=4k tmpfs $each; done"},
}


def disk_full(made: World) -> Facts:
    at = time.monotonic()
    job = Job(made, "full", "--workers", "2", "--set", "training.epochs=1")
    code = job.process.wait(300)
    return {"code": code, "seconds": time.monotonic() - at, "text": job.text()}


def package_missing(made: World) -> Facts:
    at = time.monotonic()
    job = Job(made, "missing", "--workers", "2", "--set", "training.epochs=1")
    code = job.process.wait(120)
    return {"code": code, "seconds": time.monotonic() - at, "text": job.text()}


def examined(made: World) -> Facts:
    """Run the doctor: w1's clock is ahead and its GPU does not exist, w2 lacks a package and free space.

    Both connect over the wrong network, and the bucket does not exist. Then w1 and w2 are killed, and no core is left.
    """
    absent = ["s3://absent/runs" if word == STORAGE else word for word in CLUSTER]
    code, text = made.cluster("doctor", *absent)
    for name in ("w1", "w2"):
        made.machines[name].kill()
    wait_until("the head is alone", lambda: num_nodes(made) == 1, 120)
    alone, more = made.cluster("doctor", *CLUSTER)
    return {"code": code, "alone": alone, "lines": text.splitlines(), "lines_alone": more.splitlines(), "text": text + more}


def well(made: World) -> Facts:
    at = time.monotonic()
    code, text = made.cluster("doctor", *CLUSTER)
    return {"code": code, "seconds": time.monotonic() - at, "text": text}


def main(names: list[str]) -> None:
    import safetensors

    site = str(safetensors.__path__[0]).rpartition("/")[0]
    with world() as made:
        for name in names:
            spoilt = {machine: command.replace("{site}", site) for machine, command in SPOILT.get(name, {}).items()}
            restart(made, spoilt)
            try:
                facts = globals()[name](made)
            except Exception as error:
                facts = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps({name: facts}), flush=True)


def restart(made: World, spoilt: dict[str, str]) -> None:
    """Start a new cluster for each scenario."""
    for machine in made.machines.values():
        machine.remove()
    made.machines.clear()
    three_nodes(made, **spoilt)
    assert num_nodes(made) == 3


if __name__ == "__main__":
    main(sys.argv[1:])
