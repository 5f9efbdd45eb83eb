"""The memory of a program and all its descendants, with shared pages counted once, sampled while it runs."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from pathlib import Path


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process: its pages, each divided by the number of processes that share it."""
    with contextlib.suppress(OSError, StopIteration):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) * 1024
    return 0


def mapped_pss_bytes(pid: int, name: str) -> int:
    """Return the proportional set size of those mapped files of a process whose paths contain `name`."""
    total, inside = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(maxsplit=1)[0]
        if not first.endswith(":"):
            inside = name in line
        elif inside and first == "Pss:":
            total += int(line.split()[1]) * 1024
    return total


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    pids = [pid]
    for member in pids:
        pids += children.get(member, [])
    return pids


class Watched:
    """A program with its output, and the peak memory of it and its descendants together."""

    def __init__(self, command: list[str], every_seconds: float = 0.1):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.every_seconds = every_seconds
        self.peak_bytes = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while self.process.poll() is None:
            self.peak_bytes = max(self.peak_bytes, sum(pss_bytes(pid) for pid in family(self.process.pid)))
            time.sleep(self.every_seconds)

    def forget_peak(self) -> int:
        """Measure the peak anew from the present memory, and return that."""
        now = self.peak_bytes = sum(pss_bytes(pid) for pid in family(self.process.pid))
        return now

    def next_line(self) -> str:
        """Return the next line that the program prints."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended with {self.process.wait()}")
        return line.strip()

    def go_on(self) -> None:
        """Send the program a line."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Wait until the program has ended."""
        self.process.communicate()
        self._thread.join()
