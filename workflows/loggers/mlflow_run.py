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
AT_A_TIME = 100  # parameters that a server accepts in one call


class MLflowRun:
    """One run of MLflow on the server of MLFLOW_TRACKING_URI.

    A resumed training continues its run and sends only new values. If that run is gone, a new one is begun and `note` says
    so. After the first error of the server, kept in `problem`, nothing more is sent; the training continues.
    """

    def __init__(self, tracked: Tracked):
        self.tracked = tracked
        self.problem = self.note = ""
        self.sent: dict[str, set[int]] | None = None  # steps of each metric on the server; None: a new run
        self.client: Any = None
        self.run_id = ""

    def log(self, step: int, when: float, numbers: Mapping[str, float]) -> None:
        """Write numbers by name at an optimizer step."""
        if self.problem:
            return
        try:
            from mlflow.entities import Metric

            self._open()
            new = {_key(name): value for name, value in numbers.items() if not self._has(_key(name), step)}
            metrics = [Metric(name, value, int(when * 1000), step) for name, value in new.items()]
            if metrics:
                self.client.log_batch(self.run_id, metrics=metrics)
        except Exception as error:  # a tracker must not end a training
            self.problem = f"mlflow: {type(error).__name__}: {error}"

    def _has(self, key: str, step: int) -> bool:
        """Return whether the server had a metric at a step when this training was resumed."""
        if self.sent is None:
            return False
        if key not in self.sent:
            self.sent[key] = {each.step for each in self.client.get_metric_history(self.run_id, key)}
        return step in self.sent[key]

    def _open(self) -> None:
        if self.client is not None:
            return
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient()
        known = self.tracked.id_of("mlflow")
        gone = None if known is None else _why_gone(client, known)
        if known is not None and gone is None:
            client.update_run(known, status="RUNNING")
            self.client, self.run_id, self.sent = client, known, {}
            return
        if gone is not None:
            self.note = f"mlflow: the run {known} of this training {gone}: a new one was begun"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = client.get_experiment_by_name(name)
        number = client.create_experiment(name) if experiment is None else experiment.experiment_id
        run = client.create_run(number, run_name=self.tracked.name, tags={"storage": self.tracked.store.address})
        self.client, self.run_id = client, run.info.run_id
        parameters = [Param(_key(k), str(v)[:LONGEST_PARAMETER]) for k, v in self.tracked.parameters().items()]
        for start in range(0, len(parameters), AT_A_TIME):
            client.log_batch(self.run_id, params=parameters[start : start + AT_A_TIME])
        self.tracked.keep("mlflow", self.run_id)

    def close(self) -> None:
        """Send the files of the run and its final status."""
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


def _why_gone(client: Any, run_id: str) -> str | None:
    """Return why a run cannot be continued; None if it can."""
    from mlflow.exceptions import MlflowException

    try:
        stage = client.get_run(run_id).info.lifecycle_stage
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return "is not on this server"
    return None if stage == "active" else "was deleted"


def _key(name: str) -> str:
    """Return a name with only the characters that MLflow accepts."""
    return re.sub(r"[^\w.\-/ ]", "_", name)
