"""Submitting from a laptop: shipping and refusals without a cluster, then whole jobs on a real head."""

from __future__ import annotations

import http.server
import io
import json
import shlex
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import commands
import numpy as np
import pytest
from head import Head, environment, head
from small import write_small

import workflows.recipe.ship_files
from cluster.jobs import check_credentials, exit_code, follow, job_id
from cluster.package import make_package
from cluster.reach import ClusterError, check_address, connect_jobs, find_token, sends_in_the_clear
from cluster.start import requirements_of, version_problems
from cluster.submit import Order, entrypoint
from data.errors import InputError
from data.reading.files import open_input
from workflows.cli.on_cluster import _follow
from workflows.recipe.recipe import check_recipe, load_recipe
from workflows.recipe.ship_files import at_addresses, ship_files
from workflows.recipe.shipping import pack_recipe

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
SECRET = "hush-4f1c-not-to-be-seen"


def invoke(*words: str) -> tuple[int, str]:
    code, out, err = commands.invoke(*words, entrance="cluster")
    return code, out + err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.toml"], "no such file"),
        (["demo", "--name", "../up"], "no slash"),
        (["demo", "--set", "training.decayrate=1"], "did you mean 'decay_rate'?"),
        (["demo", "--storage", "runs"], "a folder is local to one"),
        (["demo", "--storage", "runs", "--shared-folders"], "write the absolute path"),
        (["demo", "--env", "NO_SUCH_NAME_HERE"], "not set on this machine"),
        (["beijing"], "PRSA_Data_*.csv is a path of this machine"),
        (["demo", "--address", "ray://head:10001"], "not the address of a job API"),
        (["demo", "--address", "http://me:pw@head:8265"], "leave out name and password"),
        (["demo"], "no answer: check that the cluster is up"),
    ],
)
def test_wrong_input_exits_with_2_and_writes_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = words if "--storage" in words else [*words, "--storage", "s3://bucket/runs"]
    code, out = invoke("submit", *arguments, *([] if "--address" in words else ["--address", NOWHERE]))
    assert code == 2
    assert message in out
    assert "pw" not in out
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_accepts_and_does_not_answer_is_given_up_in_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        code, out = invoke("status", "--address", f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert code == 2
    assert "no answer within 3 s" in out
    assert time.monotonic() - started < 10  # 3 s, and what a busy machine adds


@pytest.fixture
def other_server() -> Iterator[tuple[str, list[str]]]:
    """Start another server on the port, which redirects each request and logs its token."""
    heard: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()


def test_the_token_is_not_sent_to_a_redirect(other_server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    address, heard = other_server
    monkeypatch.setenv("RAY_AUTH_TOKEN", SECRET)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    code, out = invoke("status", "--address", address)
    assert code == 2
    assert "not from a Ray dashboard (HTTP 302)" in out
    assert heard == [f"/api/version Bearer {SECRET}"]
    assert SECRET not in out


def test_a_token_is_found_where_ray_looks_in_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_token() is None
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("third\n")
    assert find_token() == ("third", str(tmp_path / ".ray" / "auth_token"))
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="cannot be read"):
        find_token()
    (tmp_path / "none").write_text("second")
    assert find_token() == ("second", str(tmp_path / "none"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "first")
    assert find_token() == ("first", "the environment's RAY_AUTH_TOKEN")
    assert sends_in_the_clear("http://head.example:8265")
    assert not sends_in_the_clear("https://head.example")
    assert not sends_in_the_clear("http://127.0.0.1:8265")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert find_token() is None


@pytest.mark.parametrize(
    "address", ["head:8265", "auto", "http://", "http://head:none", "http://head:8265/?a=1", "http://[::1"]
)
def test_a_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(ClusterError, match="http://HEAD:8265"):
        check_address(address)


def test_credentials_are_passed_by_name_and_no_message_has_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    assert check_credentials(["MY_KEY"]) == {"MY_KEY": SECRET}
    with pytest.raises(ClusterError) as caught:
        check_credentials([f"MY_KEY={SECRET}", f"{SECRET} x", "RAY_AUTH_TOKEN", "NOT_HERE_AT_ALL"])
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 4
    assert SECRET not in repr(Order("train", {}, "n", "s3://b", None, {"MY_KEY": SECRET}, False))


def test_local_data_are_refused_unless_shipped_and_addresses_are_kept(tmp_path: Path) -> None:
    recipe = load_recipe(write_small(tmp_path))
    with pytest.raises(InputError) as caught:
        pack_recipe(recipe, ship_data=False, shared_folders=True)
    assert len(caught.value.messages) == 3  # one for each dataset, all at once
    assert "'anvil': anvil.csv is a path of this machine" in caught.value.messages[0]
    document, files = pack_recipe(recipe, ship_data=True, shared_folders=False)
    assert [path.name for path in files.values()] == ["anvil.csv", "bellows.csv", "crane.csv"]
    shipment = ship_files(files, str(tmp_path / "storage"), print)
    moved = check_recipe(at_addresses(document, shipment.addresses), tmp_path)
    for entry in moved.entries:
        (path,) = entry.keys.path
        assert path.startswith(f"{tmp_path}/storage/shipped/")
        assert open_input(path).read() == (tmp_path / f"{entry.keys.name}.csv").read_bytes()


def with_paths(folder: Path, *paths: str) -> Any:
    recipe = load_recipe(write_small(folder))
    entries = [{"name": f"d{number}", "path": path} for number, path in enumerate(paths)]
    return check_recipe({**recipe.document, "datasets": entries}, folder)


def test_addresses_built_in_data_and_mounted_folders_stay_as_they_are(tmp_path: Path) -> None:
    paths = ("s3://bucket/a.csv", "{built_in}/plants/plant_*.csv", "/mnt/data/a.csv")
    document, files = pack_recipe(with_paths(tmp_path, *paths), ship_data=False, shared_folders=True)
    assert [entry["path"] for entry in document["datasets"]] == [[path] for path in paths]
    assert files == {}
    with pytest.raises(InputError, match="or with --shared-folders if all machines"):
        pack_recipe(with_paths(tmp_path, paths[2]), ship_data=False, shared_folders=False)


def test_files_of_the_same_name_in_different_folders_are_both_shipped(tmp_path: Path) -> None:
    recipe = with_paths(tmp_path, "**/anvil.csv")
    write_small(tmp_path / "deeper")
    document, files = pack_recipe(recipe, ship_data=True, shared_folders=False)
    assert document["datasets"][0]["path"] == ["files/0-path-0/anvil.csv", "files/0-path-0/deeper/anvil.csv"]
    assert len(files) == 2
    (tmp_path / "deeper.csv").write_text("a folder begins like the glob's files")
    document, _ = pack_recipe(with_paths(tmp_path, "deeper*.csv"), ship_data=True, shared_folders=False)
    assert document["datasets"][0]["path"] == ["files/0-path-0/deeper.csv"]


def test_a_link_to_outside_is_neither_followed_nor_shipped(tmp_path: Path) -> None:
    recipe = with_paths(tmp_path / "in", "*.csv")
    (tmp_path / "secret.csv").write_text(SECRET)
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError, match=r"link\.csv is a link to"):
        pack_recipe(recipe, ship_data=True, shared_folders=False)
    # A link is refused as well if the data are outside the recipe's folder.
    elsewhere = with_paths(tmp_path / "other", str(tmp_path / "in" / "*.csv"))
    with pytest.raises(InputError, match=r"link\.csv is a link to"):
        pack_recipe(elsewhere, ship_data=True, shared_folders=False)
    root = tmp_path / "project"
    for room in ("data", "models", "workflows", "cluster", "tests", ".venv", "runs"):
        (root / room).mkdir(parents=True)
        (root / room / "code.py").write_text("pass")
    (root / "data" / "link.py").symlink_to(tmp_path / "secret.csv")
    (root / "models" / "folder").symlink_to(tmp_path)
    (root / "models" / ".hidden").write_text(SECRET)
    package = make_package(tmp_path / "out", b"", root)
    shipped = sorted(str(path.relative_to(package.folder)) for path in package.folder.rglob("*") if path.is_file())
    assert shipped == ["cluster/code.py", "data/code.py", "models/code.py", "recipe.toml", "workflows/code.py"]
    assert package.links_left_out == ("data/link.py",)
    assert not any(path.is_symlink() for path in package.folder.rglob("*"))


def test_a_file_goes_into_the_storage_once_and_small_where_that_pays(bucket: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "odd #1 %.csv").write_text("a,b\n" + "1.0,2.0\n" * 10_000)
    (tmp_path / "noise.parquet").write_bytes(random.bytes(100_000))
    files = {
        "files/0-path-0/deep/odd #1 %.csv": tmp_path / "deep" / "odd #1 %.csv",
        "files/1-path-0/noise.parquet": tmp_path / "noise.parquet",
    }
    first = ship_files(files, f"{bucket}/once", print)
    assert (first.num_sent, first.num_present) == (2, 0)
    assert first.bytes_sent < 100_000 + 10_000
    text, noise = first.addresses.values()
    assert text.endswith("/deep/odd%20%231%20%25.csv.gz")
    assert noise.endswith("/noise.parquet")
    assert open_input(text).read() == (tmp_path / "deep" / "odd #1 %.csv").read_bytes()
    again = ship_files(files, f"{bucket}/once", print)
    assert (again.num_sent, again.num_present, again.addresses) == (0, 2, first.addresses)
    (tmp_path / "noise.parquet").write_bytes(random.bytes(100_000))  # what has changed has another address
    changed = ship_files(files, f"{bucket}/once", print)
    assert (changed.num_sent, changed.num_present) == (1, 1)
    assert changed.addresses["files/1-path-0/noise.parquet"] != noise


def test_an_interrupted_upload_resumes_with_the_missing_files(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name in "abc":
        (tmp_path / f"{name}.parquet").write_bytes(name.encode() * 1000)
        files[f"files/0-path-0/{name}.parquet"] = tmp_path / f"{name}.parquet"
    sent = workflows.recipe.ship_files._send

    def breaking_off(path: Path, *rest: Any) -> int:
        if path.name.startswith("c"):
            raise OSError("the network is gone")
        return sent(path, *rest)

    monkeypatch.setattr(workflows.recipe.ship_files, "_send", breaking_off)
    with pytest.raises(InputError, match=r"cannot be written from this machine \(the network is gone\)"):
        ship_files(files, f"{bucket}/broken", print)
    monkeypatch.setattr(workflows.recipe.ship_files, "_send", sent)
    shipment = ship_files(files, f"{bucket}/broken", print)
    assert (shipment.num_sent, shipment.num_present) == (1, 2)


def test_the_package_has_the_code_and_little_else(tmp_path: Path) -> None:
    package = make_package(tmp_path / "out", b"")
    assert package.code_bytes < 2_000_000
    assert {path.name for path in package.folder.iterdir()} == {
        "data", "models", "workflows", "cluster", "pyproject.toml", "constraints.txt", "recipe.toml",
    }  # fmt: skip


def test_names_reach_the_job_unchanged_by_the_shell() -> None:
    name = "a b; touch /tmp/x $(id) 'q'"
    line = entrypoint(Order("train", {}, name, "s3://b/r", 2, {}, False))
    words = shlex.split(line)
    assert words[words.index("--name") + 1] == name
    assert words[words.index("--workers") + 1] == "2"
    assert job_id(name, 0.0, "ab12") == "a-b-touch-tmp-x-id-q-19700101-000000-ab12"
    assert job_id("...", 0.0, "ab12") == "run-19700101-000000-ab12"


def test_the_start_of_a_job_names_every_unsuitable_package() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    wanted = requirements_of(text)
    assert wanted == tomllib.loads(text)["project"]["dependencies"]
    here = {"ray": "2.60.3", "torch": "2.13.0+cpu", "numpy": "1.26.4"}
    problems = version_problems(
        "ray=2.60.0,torch=2.12.1", ["numpy>=2.0", "rich>=13", "tomli>=2; python_version < '3'"], here.get
    )
    assert problems == [
        "torch is 2.13.0+cpu on the cluster, 2.12.1 on the machine that submitted the job",
        "numpy>=2.0 is needed, 1.26.4 is installed on the cluster",
        "rich>=13 is needed, none is installed on the cluster",
    ]


def test_an_interrupted_log_is_resumed_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.jobs.RECONNECT_S", 0.0)
    tails = [["one\n", "tw"], [], ["one\n", "two\nthr"], ["one\ntwo\nthree\n"]]

    class Client:
        async def tail_job_logs(self, _: str) -> Any:
            for text in tails.pop(0):
                yield text
            if tails:
                raise RuntimeError("WebSocket connection closed unexpectedly")

        def get_job_info(self, _: str) -> Any:
            return SimpleNamespace(status=SimpleNamespace(is_terminal=lambda: not tails))

    written: list[str] = []
    follow(Client(), "job", written.append)
    assert "".join(written) == "one\ntwo\nthree\n"


def test_ctrl_c_leaves_the_job_running_and_prints_how_to_follow_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cluster.jobs.follow", interrupted)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody to ask
    assert _follow(None, "http://127.0.0.1:8265", "job-1") == 130
    assert (
        "job-1 continues. Follow it: python -m cluster logs job-1 --follow --address http://127.0.0.1:8265"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("status", "code", "exits"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", None, 1), ("FAILED", -9, 1), ("STOPPED", None, 130)],
)
def test_the_exit_code_is_the_jobs(status: str, code: int | None, exits: int) -> None:
    assert exit_code(SimpleNamespace(status=status, driver_exit_code=code)) == exits


@pytest.fixture(scope="module")
def cluster() -> Iterator[Head]:
    with head() as running:
        yield running


@pytest.fixture
def shell(cluster: Head, monkeypatch: pytest.MonkeyPatch) -> Head:
    """Set the environment of a user with the cluster's token."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", cluster.token)
    return cluster


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the storage of all jobs, which share prepared data."""
    return tmp_path_factory.mktemp("shared")


TWO_PLANTS = ("--set", "datasets.{file}.path={built_in}/plants/plant_[ab]*.csv", "--set", "data.stride=6")


def contents(folder: Path) -> str:
    return "\n".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())


@pytest.mark.ray
@pytest.mark.slow
def test_a_submitted_run_ends_like_a_local_one_and_shows_no_secret(shell: Head, store: Path) -> None:
    """Takes about 25 s: the head, Ray Data, a worker group of one."""
    words = ["submit", "demo", "--address", shell.address, "--storage", str(store), "--shared-folders", "--wait"]
    words += ["--workers", "1", "--set", "training.epochs=1", *TWO_PLANTS, "--env", "SUBMIT_SECRET"]
    environ = {**environment(shell.token), "SUBMIT_SECRET": SECRET}
    process = subprocess.run(
        [sys.executable, "-m", "cluster", *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stderr == ""
    assert "[2/2] plant_birch  epoch 1/1" in process.stdout
    result = json.loads((store / "runs" / "demo" / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["datasets"] == ["plant_alder", "plant_birch"]
    assert result["workers"] == 1
    job = next(word for word in process.stdout.split() if word.startswith("demo-"))
    info = connect_jobs(shell.address).get_job_info(job)
    assert (info.metadata["run"], info.metadata["command"], info.metadata["workers"]) == ("demo", "train", "1")
    assert "--name demo" in info.entrypoint
    kept = contents(store)
    for secret in (SECRET, shell.token):
        assert secret not in process.stdout
        assert secret not in kept


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_that_fails_exits_with_1_and_its_data_were_shipped(shell: Head, store: Path, tmp_path: Path) -> None:
    """Takes about 8 s."""
    recipe = write_small(tmp_path, training={"epochs": 1, "learning_rate": 1e30})
    words = [str(recipe), "--address", shell.address, "--storage", str(store), "--shared-folders", "--ship-data"]
    code, out = invoke("submit", *words, "--workers", "0", "--wait")
    assert "3 data files sent to" in out
    assert code == 1
    assert "error: dataset 'anvil', epoch 1" in out
    assert "failed with exit code 1" in out
    assert "Traceback" not in out


def gauges(address: str, run: str) -> dict[str, float]:
    """Return the gauges of a run, as Prometheus reads them."""
    with urllib.request.urlopen(address, timeout=5) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if line.startswith("ray_lstm_relay_") and f'run="{run}"' in line]
    return {line.partition("{")[0].removeprefix("ray_lstm_relay_"): float(line.rpartition(" ")[2]) for line in lines}


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_is_listed_stopped_and_can_go_on(shell: Head, store: Path) -> None:
    """Takes about 10 s."""
    address = ["--address", shell.address]
    words = ["demo", *address, "--storage", str(store), "--shared-folders", "--workers", "0", "--name", "long"]
    code, out = invoke("submit", *words, "--set", "training.epochs=5000", *TWO_PLANTS)
    assert code == 0
    job = next(word for word in out.split() if word.startswith("long-"))
    for _ in range(400):
        if "epoch 2/5000" in invoke("logs", job, *address)[1]:
            break
        time.sleep(0.25)
    assert f"{job}  RUNNING" in invoke("status", *address)[1]
    for _ in range(100):
        if (values := gauges(shell.metrics, "long")) and values["epoch"] >= 2:
            break
        time.sleep(0.25)
    assert values["stage"] == 1
    assert values["epoch"] >= 2
    assert values["samples_per_second"] > 0
    assert invoke("stop", job, *address)[1].strip() == f"{job}: stopped"
    assert f"{job}  STOPPED" in invoke("status", job, *address)[1]
    assert "has already ended" in invoke("stop", job, *address)[1]
    assert json.loads((store / "runs" / "long" / "progress.json").read_text())["status"] == "interrupted"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "logs", "stop"])
def test_an_unknown_job_and_a_wrong_token_exit_with_2(command: str, shell: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = invoke(command, "nobody", "--address", shell.address)
    assert (code, "no such job on the cluster" in out) == (2, True)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    code, out = invoke(command, "nobody", "--address", shell.address)
    assert (code, "refuses the token of the environment's RAY_AUTH_TOKEN" in out) == (2, True)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    code, out = invoke(command, "nobody", "--address", shell.address)
    assert (code, "requires its token" in out) == (2, True)
    assert "wrong" not in out
