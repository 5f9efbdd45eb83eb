"""Several machines on one: Ray nodes that each have a file system, a home, a hostname and a network address.

Everything lives in namespaces that end with the process that calls `enter`: a private network with a bridge, an S3 test
server on it, and for each node a network namespace, a mount namespace and a hostname. Nothing is shared but the server, the
token, and the code, which is only read. Only root on Linux may make namespaces; `why_not` gives the reason if it is not
possible.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NETWORK = "10.77.0"
LAPTOP, HEAD = f"{NETWORK}.1", f"{NETWORK}.10"
DASHBOARD = f"http://{HEAD}:8265"
S3_PORT = 5333
ENTERED = "LSTM_RELAY_TEST_WORLD"
# An empty /tmp for each machine; a checkout that lies below /tmp stays where it is, by way of /mnt.
EMPTY_TMP = f"""
    [ /mnt -ef {ROOT} ] || mount --bind {ROOT} /mnt
    mount -t tmpfs -o size=4g tmpfs /tmp
    mkdir -p {ROOT} && {{ [ {ROOT} -ef /mnt ] || mount --bind /mnt {ROOT}; }}
"""
# As cluster/*.yaml set it on the head: a node that does not answer counts as dead after 15 s instead of 65 s, or after 3 s
# if its system still refuses connections.
HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}


def why_not() -> str | None:
    """Return why namespaces cannot be made on this machine; None if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network and mount namespaces can be made by root on Linux only"
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"there is no program {program}: apt-get install iproute2 util-linux"
    probe = "ip link add lo-a type veth peer name lo-b && ip link add lo-c type bridge && mount -t tmpfs tmpfs /tmp"
    made = subprocess.run(
        ["unshare", "-n", "-m", "-u", "-p", "-f", "sh", "-c", probe], capture_output=True, text=True, check=False
    )
    return None if made.returncode == 0 else f"this machine lets nobody make namespaces: {made.stderr.strip()}"


def enter(program: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program in new namespaces; all processes that it leaves behind end with it."""
    command = ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, str(program), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_", "LSTM_RELAY_"))}
    environment = {**kept, ENTERED: "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, **options)


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def wait_until(what: str, reached: Any, seconds: float = 90.0) -> float:
    """Wait until `reached()` is true; return the seconds that it took."""
    started = time.monotonic()
    while not reached():
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"after {seconds:.0f} s: {what}")
        time.sleep(0.2)
    return time.monotonic() - started


@dataclass
class Machine:
    """A node; `name` is its hostname."""

    name: str
    address: str
    cores: int
    process: subprocess.Popen[bytes] | None = None

    def pids(self) -> list[int]:
        return [int(pid) for pid in run("ip", "netns", "pids", self.name).split()]

    def kill(self) -> None:
        """Kill all processes of the machine at once, as a power cut does; its network goes with them."""
        for _ in range(20):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def remove(self) -> None:
        """Kill the machine, and take its network away so that one of its name can be started."""
        self.kill()
        for words in (["link", "del", f"v-{self.name}"], ["netns", "del", self.name]):
            subprocess.run(["ip", *words], check=False, capture_output=True)

    def unplug(self) -> None:
        """Disconnect the network: the machine goes on and nobody hears it."""
        run("ip", "link", "set", f"v-{self.name}", "down")

    def shell(self, command: str) -> str:
        """Run a command in the namespaces of the machine's Ray: its network, files and hostname."""
        pid = next(pid for pid in self.pids() if b"raylet" in Path(f"/proc/{pid}/cmdline").read_bytes())
        return run("nsenter", f"--target={pid}", "--mount", "--net", "--uts", "sh", "-c", command)


@dataclass
class World:
    """The private network, with the S3 server on the laptop's address."""

    token: str = field(default_factory=lambda: secrets.token_hex(32))
    machines: dict[str, Machine] = field(default_factory=dict)
    s3: subprocess.Popen[bytes] | None = None
    scratch: Path = Path("/tmp/world")

    def environment(self) -> dict[str, str]:
        """Return the environment of a user's shell on the laptop, with the token and the keys of the bucket."""
        kept = {name: value for name, value in os.environ.items() if name != ENTERED}
        return {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
            "HOME": str(self.scratch / "laptop"),
            "RAY_worker_niceness": "0",  # Ray's own 15 lets whatever else runs on this machine go before its workers
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "AWS_ENDPOINT_URL": f"http://{LAPTOP}:{S3_PORT}",
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "not-a-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def add(self, name: str, number: int, cores: int, before: str = "true") -> Machine:
        """Start a node; `before` is a shell command that runs on the machine first, to spoil it. The first is the head.

        $START_OPTIONS, which `before` may export, are more options of `ray start`.
        """
        machine = Machine(name, f"{NETWORK}.{number}", cores)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"v-{name}", "master", "bridge", "up")
        for words in (
            ["addr", "add", f"{machine.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["link", "set", "lo", "up"],
        ):
            run("ip", "-n", name, *words)
        hosts = self.scratch / f"hosts-{name}"
        # As in Debian and Ubuntu, a machine's own name resolves to an address that no other machine reaches.
        hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
        words = [str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"]
        words += [f"--node-ip-address={machine.address}", f"--num-cpus={cores}", "--object-store-memory=100000000"]
        if machine.address == HEAD:
            words += ["--head", "--port=6379", f"--dashboard-host={HEAD}", "--dashboard-port=8265"]
        else:
            words += [f"--address={HEAD}:6379"]
        python = Path(sys.executable).parent
        script = f"""
            set -e
            mount --make-rprivate /
            mount --bind {hosts} /etc/hosts
            hostname {name}
            mount -t tmpfs -o size=512m tmpfs /dev/shm
            mkdir -p /root && mount -t tmpfs -o size=512m tmpfs /root.home 2>/dev/null || true
            export HOME=/tmp/home PATH={python}:$PATH
            {EMPTY_TMP}
            mkdir -p $HOME
            cd /tmp
            {before}
            exec {" ".join(words)} $START_OPTIONS
        """

        log = (self.scratch / f"{name}.log").open("wb")
        environment = {**self.environment(), **(HEALTH if machine.address == HEAD else {})}
        environment.pop("PYTHONPATH", None)
        machine.process = subprocess.Popen(
            ["ip", "netns", "exec", name, "unshare", "--mount", "--uts", "sh", "-c", script],
            env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.machines[name] = machine
        return machine

    def log_of(self, name: str) -> str:
        return (self.scratch / f"{name}.log").read_text()

    def pause_store(self) -> None:
        """Stop the object store: it accepts connections and does not answer."""
        assert self.s3 is not None
        os.kill(self.s3.pid, signal.SIGSTOP)

    def resume_store(self) -> None:
        assert self.s3 is not None
        os.kill(self.s3.pid, signal.SIGCONT)

    def cluster(self, *words: str, timeout: float = 600) -> tuple[int, str]:
        """Run `python -m cluster ...` on the laptop; return its exit code and output."""
        process = subprocess.run(
            [sys.executable, "-m", "cluster", *words], cwd=ROOT, env=self.environment(), text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return process.returncode, process.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `python -m cluster ...` on the laptop without waiting for its end."""
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "cluster", *words], cwd=ROOT, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Make the network and the S3 server; call it inside `enter` only."""
    assert os.environ.get(ENTERED) == "1", "call this inside `enter` only"
    made = World()
    run("mount", "--make-rprivate", "/")
    run("sh", "-ec", EMPTY_TMP)
    run("mkdir", "-p", "/run/netns")
    run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
    (made.scratch / "laptop").mkdir(parents=True)
    for words in (
        ["link", "set", "lo", "up"],
        ["link", "add", "bridge", "type", "bridge"],
        ["addr", "add", f"{LAPTOP}/24", "dev", "bridge"],
        ["link", "set", "bridge", "up"],
    ):
        run("ip", *words)
    os.environ["MOTO_ALLOW_NONEXISTENT_REGION"] = "true"
    server = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", LAPTOP, "-p", str(S3_PORT)]
    made.s3 = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=(made.scratch / "s3.log").open("wb"))
    os.environ.update({name: value for name, value in made.environment().items() if name.startswith("AWS_")})

    def answers() -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((LAPTOP, S3_PORT), timeout=1).close()
            return True
        return False

    wait_until("the S3 server answers", answers, 120)
    from pyarrow import fs

    fs.S3FileSystem(allow_bucket_creation=True, endpoint_override=os.environ["AWS_ENDPOINT_URL"]).create_dir("relay")
    try:
        yield made
    finally:
        made.s3.kill()


def num_nodes(made: World) -> int:
    """Return the number of living nodes that the dashboard knows."""
    import json
    import urllib.request

    request = urllib.request.Request(f"{DASHBOARD}/api/v0/nodes", headers={"Authorization": f"Bearer {made.token}"})
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), urllib.request.urlopen(request, timeout=3) as answer:
        nodes = json.loads(answer.read())["data"]["result"]["result"]
        return sum(node["state"] == "ALIVE" for node in nodes)
    return 0


def three_nodes(made: World, **before: str) -> None:
    """Start a head without cores and two nodes of one core each."""
    for number, (name, cores) in enumerate((("head", 0), ("w1", 1), ("w2", 1))):
        up(made, name, 10 + number, cores, before.get(name, "true"), number + 1)


def up(made: World, name: str, number: int, cores: int, before: str, count: int) -> None:
    """Start a node until the cluster has `count` of them; start it again if Ray gave it up after 30 s."""
    for attempt in range(4):
        machine = made.add(name, number, cores, before)
        with contextlib.suppress(TimeoutError):
            wait_until(name, lambda m=machine: num_nodes(made) == count or m.process.poll() is not None, 120)
        if num_nodes(made) == count:
            return
        sys.stderr.write(f"--- {name}, attempt {attempt + 1}\n{made.log_of(name)}")
        machine.remove()
    raise TimeoutError(f"{name} does not start")
