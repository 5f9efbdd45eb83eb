"""Keywords of Keras, NeuralForecast and scikit-learn, and their equivalents in `train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.recipe.checks import suggest

HABITS = {
    "lr": "write learning_rate",
    "units": "write hidden_size",
    "hidden_dim": "write hidden_size",
    "layers": "write num_layers",
    "class_weight": 'write class_weights = "balanced", or a weight for each label',
    "sample_weight": "write weight, the name of a column of a frame",
    "optimizer": "the optimizer is AdamW: set learning_rate, weight_decay and gradient_clip",
    "validation_data": "write validation=[(X, y)] for arrays, or split=[0.7, 0.1, 0.2] for frames",
    "validation_size": "write validation_split for arrays, or split=[0.7, 0.1, 0.2] for frames",
    "callbacks": "write watch=function, which is called with each event; early stopping is patience",
    "verbose": "write watch=print to see each event, watch=lambda event: None for silence",
    "metrics": "errors are always measured: see result.evaluate()",
    "early_stopping": "write patience, the number of epochs",
    "h": "write horizon",
    "input_size": "write lookback",
    "window": "write lookback",
    "freq": 'write frequency, such as "1h"',
    "id_col": "write series",
    "time_col": "write time",
    "target_col": "write targets",
    "hist_exog_list": "write features, the targets among them",
    "futr_exog_list": "write known_future",
    "stat_exog_list": "write static",
    "max_steps": "write epochs",
    "random_seed": "write seed",
    "random_state": "write seed",
    "device": "write use_gpu = true or false",
    "n_jobs": "write workers",
    "path": "write storage",
}


def unknown_key(key: str, known: Mapping[str, Any] | list[str]) -> str:
    """Return the message about an unknown keyword: its equivalent, or the nearest keyword."""
    habit = HABITS.get(key)
    names = list(known)
    words = habit.split()[1].rstrip(",") if habit and habit.startswith("write ") else ""
    offered = words.partition("=")[0]
    if habit and (not words or offered in (*names, "watch", "validation", "validation_split", "workers", "storage")):
        return f"train: the key {key!r} is unknown: {habit}"
    return f"train: the key {key!r} is unknown: {suggest(key, names, 'RECIPE.md lists them')}"
