"""Write the numbers of a training to MLflow: one run in the experiment MLFLOW_EXPERIMENT_NAME (default lstm-relay)."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflows.loggers.tracked import Tracked

EXPERIMENT = "lstm-relay"
LONGEST_PARAMETER = 6000  # characters
AT_A_TIME = 100  # parameters, which a server takes at once


class MLflowRun:
    """One run of MLflow. The server is that of MLFLOW_TRACKING_URI.

    The first error of the server is kept in `problem`, and nothing more is sent: the training goes on.
    """

    def __init__(self, tracked: Tracked):
        self.tracked = tracked
        self.problem = ""
        self.client: Any = None
        self.run_id = ""

    def log(self, step: int, when: float, numbers: Mapping[str, float]) -> None:
        """Write numbers by name at an optimizer step."""
        if self.problem:
            return
        try:
            from mlflow.entities import Metric

            self._open()
            metrics = [Metric(_key(name), value, int(when * 1000), step) for name, value in numbers.items()]
            self.client.log_batch(self.run_id, metrics=metrics)
        except Exception as error:  # a tracker must not end a training
            self.problem = f"mlflow: {type(error).__name__}: {error}"

    def _open(self) -> None:
        if self.client is not None:
            return
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient()
        known = self.tracked.id_of("mlflow")
        if known is not None:
            client.update_run(known, status="RUNNING")
            self.client, self.run_id = client, known
            return
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = client.get_experiment_by_name(name)
        number = client.create_experiment(name) if experiment is None else experiment.experiment_id
        run = client.create_run(number, run_name=self.tracked.name, tags={"storage": self.tracked.store.address})
        self.client, self.run_id = client, run.info.run_id
        given = [Param(_key(k), str(v)[:LONGEST_PARAMETER]) for k, v in self.tracked.parameters().items()]
        for start in range(0, len(given), AT_A_TIME):
            client.log_batch(self.run_id, params=given[start : start + AT_A_TIME])
        self.tracked.keep("mlflow", self.run_id)

    def close(self) -> None:
        """Send the files of the run, and say how it ended."""
        if self.client is None or self.problem:
            return
        try:
            with tempfile.TemporaryDirectory(prefix="lstm-relay-") as folder:
                for name, content in self.tracked.artifacts().items():
                    path = Path(folder) / name
                    path.write_bytes(content)
                    self.client.log_artifact(self.run_id, str(path))
            self.client.set_terminated(self.run_id, "FINISHED" if self.tracked.finished else "KILLED")
        except Exception as error:
            self.problem = f"mlflow: {type(error).__name__}: {error}"


def _key(name: str) -> str:
    """Return a name in the letters that MLflow takes."""
    return re.sub(r"[^\w.\-/ ]", "_", name)
