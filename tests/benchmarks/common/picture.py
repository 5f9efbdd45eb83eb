"""The picture of the README: the error matrices of a plain sequence and of one that replays, side by side.

lstm-relay train demo --name demo-plain --set retention.method=none
lstm-relay train demo
python tests/benchmarks/common/picture.py runs/runs/demo-plain runs/runs/demo docs/example.svg
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

GRAY = "#767676"  # legible on white and on black


def matrix(axes: Axes, result: dict, title: str) -> None:
    """Draw a row for each stage and a column for each dataset; blue beats the naive forecast, red loses to it."""
    errors = np.array(result["error_matrix"]["scaled"], float)
    names = [name.removeprefix("plant_") for name in result["datasets"]]
    axes.imshow(errors, cmap="RdBu_r", norm=LogNorm(0.2, 5), aspect="auto")
    for (row, column), error in np.ndenumerate(errors):
        strong = abs(np.log(error)) > 0.8
        axes.text(column, row, f"{error:.2f}", ha="center", va="center", color="white" if strong else "black")
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(errors)), ["untrained", *(f"after {name}" for name in names)])
    axes.tick_params(length=0, colors=GRAY)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{title}: {result['mean_scaled_error']:.2f} at the end", color=GRAY, fontsize=11)


def main(plain: str, replay: str, path: str) -> None:
    """Draw the two runs' matrices into a file."""
    runs = [json.loads((Path(each) / "result.json").read_text()) for each in (plain, replay)]
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    for axes, run, title in zip(figure.subplots(1, 2), runs, ("plain sequence", "with replay"), strict=True):
        matrix(axes, run, title)
    figure.suptitle("Validation error, of the naive forecast's (below 1 beats it)", color=GRAY, fontsize=11)
    with rc_context({"svg.hashsalt": "example", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(path, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
