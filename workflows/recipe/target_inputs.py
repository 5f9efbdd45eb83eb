"""The data that per-window normalization needs: the targets among the features, scaled alike."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import InputError
from data.nearest import nearest
from data.prepared.encoding import EncodedDataset
from data.reading.settings import DataSettings
from models.settings import Channels, ModelSettings


def channel_problems(data: DataSettings, model: ModelSettings) -> list[str]:
    """Return what is wrong with the settings of a model for these features and targets."""
    if not model.needs_channels:
        return []
    normalised = f'model.window_normalization = "{model.window_normalization}"'
    asked = normalised if model.window_normalization != "none" else "model.channel_independent = true"
    other = 'write window_normalization = "none" and channel_independent = false'
    if model.classifies:
        return [f'{asked} requires numeric targets, not classes (loss = "cross_entropy"): {other}']
    if data.horizon == 0:
        return [f"{asked} requires horizon >= 1 and targets among the features; here horizon = 0: {other}, or set a horizon"]
    found = []
    absent = [name for name in data.targets if name not in data.features]
    every = [*data.features, *absent]
    if absent:
        also = [*data.features, *(name for name in absent if name not in data.categorical)]
        near = [question for name in absent if (question := _misspelt(name, data))]
        cure = f"{' '.join(near)} If not, write" if near else "write"
        found.append(
            f"{asked} needs each target among the features, which lack {', '.join(absent)}: {cure} features = {also}"
        )
    unpredicted = [name for name in data.features if name not in data.targets]
    if model.channel_independent and unpredicted:
        found.append(
            "model.channel_independent = true needs each feature among the targets, which lack "
            f"{', '.join(unpredicted)}: write targets = {every}, or channel_independent = false"
        )
    return found


def _misspelt(target: str, data: DataSettings) -> str:
    """Return a question if a target that is not a feature is misspelt; empty if no feature is near."""
    near = nearest(target, [name for name in data.features if name not in data.targets], alike=0.8)
    return "" if near is None else f"did you mean the feature {near!r} by {target!r}?"


def channels_of(datasets: Sequence[EncodedDataset]) -> Channels:
    """Return the channels of datasets that have the same columns.

    Raises InputError if a target is scaled differently from the feature of the same name: quartiles are those of the
    features with gaps filled, but of the targets as observed.
    """
    prepared = datasets[0].prepared
    numbers = [column.name for column in prepared.columns if column.kind == "number"]
    places = tuple(numbers.index(name) for name in prepared.targets)
    problems = []
    for dataset in datasets:
        center, scale = dataset.encoding.center, dataset.encoding.scale
        for target, place in enumerate(places, len(numbers)):
            if (center[place], scale[place]) != (center[target], scale[target]):
                problems.append(
                    f"dataset {dataset.name!r}: {numbers[place]!r} has missing values, so that as a target it has other "
                    f'quartiles than as a feature: with model.window_normalization write scaling = "standard"'
                )
    if problems:
        raise InputError(problems)
    # Known and static features are the last numbers, which are not made relative to the window: what is constant in it would
    # be lost, and the known rows that are predicted are not part of it.
    moving = len(numbers) - len(prepared.settings.static) - len(prepared.settings.known_future)
    return Channels(moving, places, any(column.kind == "flag" for column in prepared.columns))
