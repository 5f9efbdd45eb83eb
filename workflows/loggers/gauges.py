"""Progress of a run as Prometheus gauges of Ray: ray_lstm_relay_stage, _epoch and _samples_per_second, tagged by run."""

from __future__ import annotations

from typing import Any

from workflows.relay.events import EpochDone, RunEvent

GAUGES = {
    "lstm_relay_stage": "dataset being trained, counted from 1",
    "lstm_relay_epoch": "last committed epoch of that dataset, counted from 1",
    "lstm_relay_samples_per_second": "train samples per second in that epoch, all workers together",
}


class Gauges:
    """Sets the gauges of a run with each epoch; this process must be connected to Ray by then."""

    def __init__(self, run: str):
        self.run = run
        self.gauges: dict[str, Any] = {}

    def __call__(self, event: RunEvent) -> None:
        """Set the gauges after an epoch."""
        if not isinstance(event, EpochDone):
            return
        if not self.gauges:
            from ray.util.metrics import Gauge

            self.gauges = {name: Gauge(name, description=words, tag_keys=("run",)) for name, words in GAUGES.items()}
        values = (event.stage + 1, event.epoch + 1, event.samples / max(event.seconds, 1e-9))
        for gauge, value in zip(self.gauges.values(), values, strict=True):
            gauge.set(float(value), tags={"run": self.run})
