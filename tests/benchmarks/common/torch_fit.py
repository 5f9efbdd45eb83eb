"""The fit as its users write it in plain torch: windows in a TensorDataset, a DataLoader, nn.LSTM, Adam.

    python torch_fit.py WINDOWS.npz THREADS

It runs in a separate process, as the project's fit changes how its process allocates memory. Answers one line of JSON on
stdout for each line of JSON on stdin ({"batch": 32}): seconds and processor seconds of an epoch.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Forecaster(nn.Module):
    """An LSTM and a linear head on its last output."""

    def __init__(self, num_features: int, num_outputs: int, hidden_size: int = 64):
        super().__init__()
        self.lstm = nn.LSTM(num_features, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        output, _ = self.lstm(inputs)
        forecast: Tensor = self.head(output[:, -1])
        return forecast


class PlainFit:
    """A model, its optimizer and its loader; `epoch` is the loop of every tutorial."""

    def __init__(self, inputs: Tensor, targets: Tensor, batch_size: int, seed: int = 0):
        torch.manual_seed(seed)
        self.model = Forecaster(inputs.shape[2], targets.shape[1])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.loss = nn.MSELoss()
        self.loader = DataLoader(TensorDataset(inputs, targets), batch_size=batch_size, shuffle=True)

    def epoch(self) -> float:
        """Train on every window once, and return the mean loss."""
        self.model.train()
        total = 0.0
        for inputs, targets in self.loader:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(inputs)
        return total / len(self.loader.dataset)  # type: ignore[arg-type]

    @torch.no_grad()
    def error(self, inputs: Tensor, targets: Tensor) -> float:
        """Return the mean squared error."""
        self.model.eval()
        loader = DataLoader(TensorDataset(inputs, targets), batch_size=256)
        return sum(float(((self.model(x) - y) ** 2).sum()) for x, y in loader) / targets.numel()


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    with np.load(sys.argv[1]) as file:
        inputs, targets = torch.from_numpy(file["inputs"]), torch.from_numpy(file["targets"])
    fits: dict[int, PlainFit] = {}
    for line in sys.stdin:
        batch = json.loads(line)["batch"]
        fit = fits.setdefault(batch, PlainFit(inputs, targets, batch))
        started, used = time.perf_counter(), time.process_time()
        fit.epoch()
        took = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
        print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main()
