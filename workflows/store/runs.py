"""runs/NAME/: the files of a run or a search, and what they say."""

from __future__ import annotations

import json
import time
from typing import Any

from workflows.store.alive import as_seen
from workflows.store.storage import Storage

Facts = dict[str, Any]


class Runs:
    """The runs and searches of a storage."""

    storage: Storage

    def write_run(self, name: str, file: str, content: bytes) -> None:
        """Write one of the files of a run."""
        self.storage.write(f"runs/{name}/{file}", content)

    def run(self, name: str) -> Facts | None:
        """What a run came to (result.json), or how far it is (progress.json) where that is newer; None: no such run."""
        return max(
            (each for each in (self.result(name), self.progress(name)) if each is not None),
            key=lambda each: float(each.get("when", 0)),
            default=None,
        )

    def result(self, name: str) -> Facts | None:
        """What a run last came to, whatever it is doing now."""
        return self._json(f"runs/{name}/result.json")

    def progress(self, name: str) -> Facts | None:
        """How far a run is that has not ended, or where and why it stopped."""
        found = self._json(f"runs/{name}/progress.json")
        return found and as_seen(found, time.time())

    def search(self, name: str) -> Facts | None:
        """What a search came to."""
        return self._json(f"runs/{name}/search.json")

    def searching(self, name: str) -> Facts | None:
        """How far a search is that has not ended, and what it has reached."""
        return self._json(f"runs/{name}/searching.json")

    def searches(self) -> dict[str, Facts]:
        """All searches by name, the latest first; of one that goes on or was stopped, how far it is."""
        both = {name: (self.searching(name), self.search(name)) for name in self.storage.names("runs")}
        known = {name: under_way or ended for name, (under_way, ended) in both.items()}
        found = {name: facts for name, facts in known.items() if facts is not None}
        return dict(sorted(found.items(), key=lambda each: -float(each[1].get("when", 0))))

    def runs(self) -> dict[str, Facts]:
        """All runs by name, the latest first."""
        found = {name: self.run(name) for name in self.storage.names("runs")}
        known = {name: facts for name, facts in found.items() if facts is not None}
        return dict(sorted(known.items(), key=lambda each: -float(each[1].get("when", 0))))

    def _json(self, path: str) -> Facts | None:
        try:
            found: Facts = json.loads(self.storage.read(path))
        except (FileNotFoundError, ValueError):
            return None
        return found
