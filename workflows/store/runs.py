"""runs/NAME/: the files of a run or a search, and their content."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from data.errors import InputError
from data.records import DamagedRecordError, Json
from workflows.store.alive import as_seen
from workflows.store.run_record import RunRecord, publish_run, read_record, read_run, replace_file
from workflows.store.storage import Storage

T = TypeVar("T")


class Runs:
    """The runs and searches of a storage. An unreadable record raises InputError with its file."""

    storage: Storage

    def write_run(self, name: str, file: str, content: bytes) -> None:
        """Write one of the files of a run; a folder in its place is set aside."""
        replace_file(self.storage, f"runs/{name}/{file}", content)

    def publish(self, name: str, record: RunRecord) -> None:
        """Write the result of a run, its recipe and its datasets, atomically."""
        publish_run(self.storage, name, record)

    def ended(self, name: str) -> RunRecord | None:
        """Return the last result of a run with its recipe and datasets, also while it is trained again."""
        return self._readable(name, lambda: read_run(self.storage, name))

    def result(self, name: str) -> Json | None:
        """Return the last result of a run, also while it is trained again."""
        record = self.ended(name)
        return None if record is None else record.result

    def run(self, name: str) -> Json | None:
        """Return the result of a run, or its progress if that is newer; None if there is no such run."""
        return max(
            (each for each in (self.result(name), self.progress(name)) if each is not None),
            key=lambda each: float(each.get("when", 0)),
            default=None,
        )

    def progress(self, name: str) -> Json | None:
        """Return the progress of a run that has not ended, or where and why it stopped."""
        found = self._json(name, "progress.json")
        return found and as_seen(found, time.time())

    def search(self, name: str) -> Json | None:
        """Return the result of a search that has ended at least once; None if there is none."""
        return self._json(name, "search.json")

    def searching(self, name: str) -> Json | None:
        """Return the progress of a search that has not ended, or where it stopped, and what it reached."""
        found = self._json(name, "searching.json")
        return found and as_seen(found, time.time())

    def searches(self) -> dict[str, Json]:
        """Return all readable searches by name, latest first; unfinished ones with their progress."""
        return self._all(lambda name: self.searching(name) or self.search(name))

    def runs(self) -> dict[str, Json]:
        """Return all readable runs by name, latest first."""
        return self._all(self.run)

    def unreadable(self) -> list[str]:
        """Return the problems of the runs and searches that `runs` and `searches` leave out."""
        found = []
        for name in self.storage.names("runs"):
            for read in (self.run, self.searching, self.search):
                try:
                    read(name)
                except InputError as error:
                    found += error.messages
        return found

    def _all(self, read: Callable[[str], Json | None]) -> dict[str, Json]:
        found = {}
        for name in self.storage.names("runs"):
            try:
                facts = read(name)
            except InputError:
                continue  # one damaged record does not hide the others
            if facts is not None:
                found[name] = facts
        return dict(sorted(found.items(), key=lambda each: -float(each[1].get("when", 0))))

    def _json(self, name: str, file: str) -> Json | None:
        return self._readable(name, lambda: read_record(self.storage, f"runs/{name}/{file}"))

    def _readable(self, name: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except DamagedRecordError as error:
            raise InputError(
                f"run {name!r}: {self.storage.address}/{error}: run its train or search command again, which takes all "
                "epochs from the store, or remove the file"
            ) from None
