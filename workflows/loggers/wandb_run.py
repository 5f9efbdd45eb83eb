"""Write the numbers of a training to Weights & Biases: one run in the project WANDB_PROJECT (default lstm-relay)."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflows.loggers.tracked import Tracked

PROJECT = "lstm-relay"


class WandbRun:
    """One run of W&B; WANDB_MODE=offline writes it to the folder of the run, for `wandb sync`.

    After the first error, kept in `problem`, nothing more is sent; the training continues.
    """

    def __init__(self, tracked: Tracked):
        self.tracked = tracked
        self.problem = self.note = ""
        self.run: Any = None
        self.temporary: Any = None

    def log(self, step: int, when: float, numbers: Mapping[str, float]) -> None:
        """Write numbers by name at an optimizer step."""
        if self.problem:
            return
        try:
            self._open()
            self.run.log({**numbers, "time": when}, step=step)
        except Exception as error:  # a tracker must not end a training
            self.problem = f"wandb: {type(error).__name__}: {error}"

    def _open(self) -> None:
        if self.run is not None:
            return
        import wandb

        store, known = self.tracked.store, self.tracked.id_of("wandb")
        if store.storage.local:
            folder = str(Path(store.address) / "runs" / self.tracked.name)
        else:
            self.temporary = tempfile.TemporaryDirectory(prefix="lstm-relay-")
            folder = self.temporary.name
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=self.tracked.name,
            id=known or uuid.uuid4().hex[:12],
            resume="allow",
            config=self.tracked.parameters(),
            dir=folder,
            settings=wandb.Settings(silent=True, console="off"),
        )
        if known is None:
            self.tracked.keep("wandb", self.run.id)

    def close(self) -> None:
        """Attach the files of the run and finish it."""
        if self.run is None:
            return
        try:
            import wandb

            content = {} if self.problem else self.tracked.artifacts()
            with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
                if content:
                    artifact = wandb.Artifact(f"run-{self.run.id}", type="run")
                    for name, written in content.items():
                        path = Path(folder) / name
                        path.write_bytes(written)
                        artifact.add_file(str(path))
                    self.run.log_artifact(artifact)
                self.run.finish(exit_code=0 if self.tracked.finished else 1)
        except Exception as error:
            self.problem = f"wandb: {type(error).__name__}: {error}"
        finally:
            if self.temporary is not None:
                self.temporary.cleanup()
