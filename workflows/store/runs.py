"""runs/NAME/: the files of a run or a search, and their content.

Their JSON does not leave this module: the caller names the function that makes a value of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from data.errors import InputError
from data.records import DamagedRecordError, Json
from workflows.store.alive import as_seen
from workflows.store.run_record import RUN, RunRecord, publish_run, read_record, read_run, replace_file
from workflows.store.storage import Storage

PROGRESS = "progress.json"
T = TypeVar("T")
Reader = Callable[[Json], T]  # raises DamagedRecordError


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

    def result(self, name: str, read: Reader[T]) -> T | None:
        """Return the last result of a run, also while it is trained again; None if it has never ended."""
        record = self.ended(name)
        return None if record is None else self._value(name, RUN, read, record.result)

    def progress(self, name: str, read: Reader[T]) -> T | None:
        """Return the progress of a run that has not ended, or where and why it stopped."""
        return self._under_way(name, PROGRESS, read)

    def run(self, name: str, read: Reader[T]) -> T | None:
        """Return the result of a run, or its progress if that is newer; None if there is no such run."""
        contents = [self.result(name, dict), self.progress(name, dict)]
        newest = max((each for each in contents if each is not None), key=_when, default=None)
        return None if newest is None else self._value(name, RUN if "stages" in newest else PROGRESS, read, newest)

    def search(self, name: str, read: Reader[T]) -> T | None:
        """Return the result of a search that has ended at least once; None if there is none."""
        return self._read(name, "search.json", read)

    def searching(self, name: str, read: Reader[T]) -> T | None:
        """Return the progress of a search that has not ended, or where it stopped, and what it reached."""
        return self._under_way(name, "searching.json", read)

    def runs(self, read: Reader[T]) -> tuple[dict[str, T], list[str]]:
        """Return all readable runs by name, latest first, and the problems of the others."""
        return self._all(lambda name: self.run(name, lambda content: (_when(content), read(content))))

    def searches(self, of_progress: Reader[T], of_result: Reader[T]) -> tuple[dict[str, T], list[str]]:
        """Return all readable searches by name, latest first, and the problems of the others.

        One that has not ended is read from its progress.
        """
        return self._all(
            lambda name: (
                self.searching(name, lambda content: (_when(content), of_progress(content)))
                or self.search(name, lambda content: (_when(content), of_result(content)))
            )
        )

    def _all(self, read: Callable[[str], tuple[float, T] | None]) -> tuple[dict[str, T], list[str]]:
        values: list[tuple[float, str, T]] = []
        problems: list[str] = []
        for name in self.storage.names("runs"):
            try:
                value = read(name)
            except InputError as error:
                problems += error.messages  # one damaged record does not hide the others
            else:
                values += [] if value is None else [(value[0], name, value[1])]
        return {name: value for _, name, value in sorted(values, key=lambda each: -each[0])}, problems

    def _under_way(self, name: str, file: str, read: Reader[T]) -> T | None:
        return self._read(name, file, lambda content: read(as_seen(content, time.time())))

    def _read(self, name: str, file: str, read: Reader[T]) -> T | None:
        content = self._readable(name, lambda: read_record(self.storage, f"runs/{name}/{file}"))
        return None if content is None else self._value(name, file, read, content)

    def _value(self, name: str, file: str, read: Reader[T], content: Json) -> T:
        def value() -> T:
            try:
                return read(content)
            except DamagedRecordError as error:
                raise DamagedRecordError(f"runs/{name}/{file}: {error}") from None

        return self._readable(name, value)

    def _readable(self, name: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except DamagedRecordError as error:
            raise InputError(
                f"run {name!r}: {self.storage.address}/{error}: run its train or search command again, which takes all "
                "epochs from the store, or remove the file"
            ) from None


def _when(content: Json) -> float:
    return float(content.get("when", 0.0))
