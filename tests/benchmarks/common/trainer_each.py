"""A sequence as Ray's examples lead to it: a TorchTrainer for each dataset, the checkpoint handed on.

    python trainer_each.py FOLDER NUM_WORKERS NAME ...

FOLDER holds NAME.npz with inputs, targets, validation_inputs, validation_targets. Prints the seconds of each `fit()`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.train import Checkpoint, RunConfig, ScalingConfig, get_checkpoint, get_context, report
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Forecaster(nn.Module):
    """An LSTM and a linear head on its last output."""

    def __init__(self, num_features: int, num_outputs: int):
        super().__init__()
        self.lstm = nn.LSTM(num_features, 64, batch_first=True)
        self.head = nn.Linear(64, num_outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        forecast: torch.Tensor = self.head(self.lstm(inputs)[0][:, -1])
        return forecast


def train_loop(config: dict[str, Any]) -> None:
    """Train one epoch on one dataset, and report its validation error and a checkpoint."""
    with np.load(config["windows"]) as file:
        data = {name: torch.from_numpy(file[name]) for name in file.files}
    model: Any = Forecaster(data["inputs"].shape[2], data["targets"].shape[1])
    previous = get_checkpoint()
    if config["checkpoint"] is not None:
        previous = config["checkpoint"]
    if previous is not None:
        with previous.as_directory() as folder:
            model.load_state_dict(torch.load(Path(folder) / "model.pt"))
    model = prepare_model(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    batch = 64 // get_context().get_world_size()
    loader = prepare_data_loader(DataLoader(TensorDataset(data["inputs"], data["targets"]), batch_size=batch, shuffle=True))
    model.train()
    for inputs, targets in loader:
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        error = float(nn.functional.mse_loss(model(data["validation_inputs"]), data["validation_targets"]))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if get_context().get_world_rank() == 0:
            torch.save(getattr(model, "module", model).state_dict(), Path(folder) / "model.pt")
            checkpoint = Checkpoint.from_directory(folder)
        report({"error": error}, checkpoint=checkpoint)


def main() -> None:
    folder, num_workers, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    checkpoint, rate, seconds = None, 1e-3, []
    for name in names:
        started = time.perf_counter()
        result = TorchTrainer(
            train_loop,
            train_loop_config={"windows": str(folder / f"{name}.npz"), "checkpoint": checkpoint, "learning_rate": rate},
            scaling_config=ScalingConfig(num_workers=num_workers),
            run_config=RunConfig(name=name, storage_path=str(folder / "results")),
        ).fit()
        checkpoint, rate = result.checkpoint, 0.9 * rate
        seconds.append(time.perf_counter() - started)
    ray.shutdown()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
