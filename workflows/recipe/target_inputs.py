"""The data that per-window normalization needs: the targets among the features, scaled alike."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import InputError
from data.nearest import nearest
from data.prepared.encoding import EncodedDataset
from data.reading.settings import DataSettings
from models.settings import Channels, ModelSettings


def channel_problems(data: DataSettings, model: ModelSettings) -> list[str]:
    """Return the problems of a model's settings with these features and targets."""
    if not model.needs_channels:
        return []
    normalised = f'model.window_normalization = "{model.window_normalization}"'
    asked = normalised if model.window_normalization != "none" else "model.channel_independent = true"
    other = 'write window_normalization = "none" and channel_independent = false'
    if model.classifies:
        return [f'{asked} requires numeric targets, not classes (loss = "cross_entropy"): {other}']
    if data.horizon == 0:
        return [f"{asked} requires horizon >= 1 and targets among the features; got horizon = 0: {other}, or set a horizon"]
    problems = []
    absent = [name for name in data.targets if name not in data.features]
    every = [*data.features, *absent]
    if absent:
        also = [*data.features, *(name for name in absent if name not in data.categorical)]
        near = [question for name in absent if (question := _misspelt(name, data))]
        remedy = f"{' '.join(near)} If not, write" if near else "write"
        problems.append(
            f"{asked} needs each target among the features, which lack {', '.join(absent)}: {remedy} features = {also}"
        )
    unpredicted = [name for name in data.features if name not in data.targets]
    if model.channel_independent and unpredicted:
        problems.append(
            "model.channel_independent = true needs each feature among the targets, which lack "
            f"{', '.join(unpredicted)}: write targets = {every}, or channel_independent = false"
        )
    return problems


def _misspelt(target: str, data: DataSettings) -> str:
    """Return a question if a target that is not a feature is misspelt; empty if no feature is near."""
    near = nearest(target, [name for name in data.features if name not in data.targets], alike=0.8)
    return "" if near is None else f"did you mean the feature {near!r} by {target!r}?"


def channels_of(datasets: Sequence[EncodedDataset]) -> Channels:
    """Return the channels of datasets that have the same columns.

    Raises InputError if a target is scaled differently from the feature of the same name: quartiles of a feature include
    filled gaps, those of a target do not.
    """
    prepared = datasets[0].prepared
    numbers = [column.name for column in prepared.columns if column.kind == "number"]
    positions = tuple(numbers.index(name) for name in prepared.targets)
    problems = []
    for dataset in datasets:
        center, scale = dataset.encoding.center, dataset.encoding.scale
        for target, position in enumerate(positions, len(numbers)):
            if (center[position], scale[position]) != (center[target], scale[target]):
                problems.append(
                    f"dataset {dataset.name!r}: {numbers[position]!r} has missing values, so its quartiles as a target "
                    f'and as a feature differ: with model.window_normalization write scaling = "standard"'
                )
    if problems:
        raise InputError(problems)
    # Known and static features are the last numbers. They are not normalized by window: that would erase constants, and the
    # known values of predicted rows are not part of the window.
    moving = len(numbers) - len(prepared.settings.static) - len(prepared.settings.known_future)
    return Channels(moving, positions, any(column.kind == "flag" for column in prepared.columns))
