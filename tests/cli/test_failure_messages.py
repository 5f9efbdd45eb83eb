"""Failures outside the program end in one line with exit code 1 or 2, without partial files and traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import invoke
from small import small_document, write_small

from data.errors import InputError, plain
from workflows.cli.failures import system_error
from workflows.recipe.recipe import check_recipe, name_problems
from workflows.store.local_storage import LocalStorage
from workflows.store.storage import checked_address, open_storage
from workflows.store.store import Store

ROOT = Path(__file__).parents[2]
QUICK: dict[str, Any] = {
    "rows": 120,
    "model": {"hidden_size": 4},
    "training": {"epochs": 1, "batch_size": 32},
    "compute": {"num_workers": 0},
}


@pytest.mark.parametrize("name", ["../../victim", "a/b", "", ".hidden", "x" * 101, "a\x1b[31m", "a\u202eb"])
@pytest.mark.parametrize(
    "words",
    [["log"], ["report"], ["evaluate"], ["rollback", "--to", "1"], ["predict", "--input", "a.csv", "--output", "b.csv"]],
)
def test_a_name_that_is_no_folder_name_is_refused_and_nothing_is_written(
    name: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "runs" / "runs").mkdir(parents=True)
    code, out, err = invoke(words[0], *words[1:], "--storage", str(tmp_path / "runs"), "--", name)
    assert (code, out) == (2, "")
    assert "a name has 1 to 100 letters" in err
    assert "\x1b" not in err + out
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "runs"]


def test_a_storage_address_is_resolved_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_storage("~/x").address == str(tmp_path / "x")
    assert open_storage(f"file://localhost{tmp_path}").address == str(tmp_path)
    assert open_storage(f"file://{tmp_path}").address == str(tmp_path)
    for wrong in ("s3://", "s3:///runs", "gs://", "file://elsewhere/x", "~nobody-here/x"):
        with pytest.raises(InputError, match="--storage"):
            checked_address(wrong)
    for address in ("s3://KEY:SECRET@bucket/runs", "s3://bucket/runs?secret_key=SECRET"):
        code, out, err = invoke("runs", "--storage", address)
        assert code == 2
        assert "AWS_SECRET_ACCESS_KEY" in err
        assert "SECRET" not in (out + err).replace("AWS_SECRET_ACCESS_KEY", "")


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("run.json", errno.ENOSPC),
        ("result.json", errno.EIO),
        ("facts.json", errno.EROFS),
        ("manifest.json", errno.ENOSPC),
        ("progress.json", errno.ENOSPC),
    ],
)
def test_a_storage_that_cannot_be_written_ends_the_command_in_one_line_and_the_same_command_goes_on(
    written: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_small(tmp_path, **QUICK)
    words = ["train", str(recipe), "--storage", str(tmp_path / "runs")]
    write, publish, write_bytes = LocalStorage.write, LocalStorage.publish, Path.write_bytes

    def failing(real: Any) -> Any:
        def call(self: Any, path: Any, *args: Any) -> Any:
            if str(path).endswith(written) or str(self).endswith(written) or (args and written in str(args[0])[:200]):
                raise OSError(code, os.strerror(code), str(path) if isinstance(path, str) else str(self))
            return real(self, path, *args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", failing(write))
        patch.setattr(LocalStorage, "publish", failing(publish))
        patch.setattr(Path, "write_bytes", failing(write_bytes))
        ended, _, err = invoke(*words)
    if written == "progress.json":  # a note; it does not end the run
        assert (ended, err) == (0, "")
        return
    assert ended == 1
    assert os.strerror(code) in err
    assert len(err.strip().splitlines()) == 1
    store = Store(str(tmp_path / "runs"))
    record = store.run("small", dict)
    assert record is None or record["status"] in ("failed", "finished")
    assert invoke(*words)[0] == 0
    assert invoke("verify", "--storage", str(tmp_path / "runs"))[0] == 0


def test_a_system_error_has_a_message_with_what_to_do_and_a_bug_has_none() -> None:
    assert "free space" in str(system_error(OSError(errno.ENOSPC, "No space left on device", "/x")))
    assert "permissions" in str(system_error(PermissionError(errno.EACCES, "Permission denied", "/x")))
    assert "memory" in str(system_error(MemoryError()))
    assert "memory" in str(system_error(RuntimeError("DefaultCPUAllocator: can't allocate memory")))
    assert system_error(KeyError("x")) is None


def test_a_message_escapes_control_characters_and_hides_keys() -> None:
    assert plain("a\x1b[31mb\u202ec\nd é 日本") == "a\\x1b[31mb\\u202ec\nd é 日本"
    assert plain("s3://KEY:SECRET@bucket/x: no") == "s3://***@bucket/x: no"


def test_names_with_markup_mathtext_and_brackets_are_names(tmp_path: Path) -> None:
    name = "net $^{x$ [red]cost [bold] _a_"
    assert name_problems(name) == []
    training = {"epochs": 1, "batch_size": 32}
    recipe = write_small(
        tmp_path, rows=120, model={"hidden_size": 4}, training=training, compute={"num_workers": 0}, name=name
    )
    storage = ["--storage", str(tmp_path / "runs")]
    assert invoke("train", str(recipe), *storage)[0] == 0
    for words in (["runs"], ["log", name], ["rollback", name, "--to", "1"]):
        code, out, err = invoke(*words, *storage)
        assert (code, err) == (0, "")
        assert name in " ".join(out.split())


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"epochs": 10**15}},
        {"training": {"learning_rate": 1e300}},
        {"training": {"batch_size": 2**63}},
        {"retention": {"method": "l2", "strength": 1e300}},
        {"retention": {"method": "replay", "memory": 2**63}},
        {"data": {"frequency": 2**63}},
        {"data": {"lookback": 2**63}},
        {"search": {"decay_rate": {"low": 0, "high": 1, "step": 1e-15}}},
        {"search": {"epochs": {"low": 1, "high": 10**15}}},
        {"search": {"epochs": {"low": 1, "high": 10**400}}},
        {"search": {"num_samples": 10**15, "algorithm": "random", "epochs": [1]}},
        {"seed": 2**70},
    ],
)
def test_extreme_values_are_refused_at_once(sections: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        check_recipe(small_document(**sections), tmp_path)


def test_a_recipe_that_is_nested_deep_is_refused_at_once(tmp_path: Path) -> None:
    for text in ("a" + ".a" * 3000 + " = 1", "a = " + "[" * 3000 + "]" * 3000, f"[{'.'.join('b' * 3000)}]"):
        (tmp_path / "deep.toml").write_text(text)
        code, _, err = invoke("train", str(tmp_path / "deep.toml"))
        assert code == 2
        assert len(err.strip().splitlines()) == 1


def test_a_stdout_that_takes_nothing_ends_in_one_line(tmp_path: Path) -> None:
    """Takes about 4 s: four processes."""
    (tmp_path / "runs" / "runs").mkdir(parents=True)
    command = f"{sys.executable} -m workflows runs --storage {tmp_path}/runs"
    for shell, codes in ((f"{command} > /dev/full", {1}), (f"{command} >&-", {0, 1}), (f"{command} | true; exit 0", {0})):
        process = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert process.returncode in codes, process
        assert "Traceback" not in process.stderr
        assert "Exception ignored" not in process.stderr
        assert len(process.stderr.splitlines()) <= 1
