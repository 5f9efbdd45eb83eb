"""Read the y of a training loop as numbers or as class labels, or reject it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import InputError

NUMBERS_WANTED = "write (samples, targets) numbers, or (samples,) integers or strings for classes"
CLASSES_WANTED = "write one class for each sample: (samples,) integers or strings"


def as_array(values: Any) -> npt.NDArray[Any]:
    """Return an array from an array, a torch tensor on any device, or a list of them."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        return np.asarray(tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
    if isinstance(values, (list, tuple)) and any(hasattr(each, "detach") for each in values):
        return np.asarray([as_array(each) for each in values])
    return np.asarray(values)


def check_targets(label: str, targets: Any, classes: bool | None = None) -> npt.NDArray[Any]:
    """Return (samples, targets) float32 numbers, or (samples,) class labels as text.

    `classes` says what the loss needs: True for class labels, False for numbers; None decides by the values: one whole
    number or string for each sample is a class. Raises InputError with a message that begins with `label`.
    """
    try:
        array = as_array(targets)
    except ValueError:  # of lists of different lengths
        raise InputError(f"{label}: y has no shape, its rows have different lengths: {NUMBERS_WANTED}") from None
    one_each = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    values = [*array.ravel()] if one_each and array.dtype.kind in "UO" else []
    texts = any(isinstance(each, str) for each in values)
    whole = array.dtype.kind in "iub" or (
        bool(values) and all(isinstance(each, (int, np.integer, np.bool_)) for each in values)
    )
    if classes or (classes is None and array.ndim == 1 and (texts or whole)):
        return class_labels(label, array)
    if texts and one_each:
        raise InputError(
            f"{label}: y holds {next(each for each in values if isinstance(each, str))!r}: for classes add "
            'loss = "cross_entropy"; numbers have to be numbers, not text'
        )
    if whole and one_each and classes is False:
        raise InputError(
            f"{label}: y holds whole numbers ({', '.join(map(str, array.ravel()[:3]))}, ...), and the loss is one for "
            'numbers: for classes add loss = "cross_entropy", for numbers (counts, for example) write y.astype(float)'
        )
    return _numbers(label, array)


def class_labels(label: str, targets: Any) -> npt.NDArray[np.str_]:
    """Return the class of each sample as text: 3 and 3.0 are "3", True is "True"; raises InputError for other values."""
    array = as_array(targets)
    if array.ndim == 2 and array.shape[1] > 1:
        raise InputError(
            f"{label}: y has the shape {array.shape}, and the loss is one for classes: {CLASSES_WANTED} "
            "(of one-hot rows: y.argmax(axis=1))"
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise InputError(f"{label}: y has the shape {array.shape}: {CLASSES_WANTED}")
    array = array.ravel()
    if array.dtype.kind in "iubU":
        return array.astype(str)
    return np.array([_text_of(f"{label}: sample {number} of y", each) for number, each in enumerate(array)], str)


def labels_by_text(targets: Any) -> dict[str, Any]:
    """Return the classes in the caller's type, by their text."""
    array = as_array(targets).ravel()
    return dict(zip(class_labels("y", array).tolist(), array, strict=True))


def check_spelling(target: str, labels: Sequence[str]) -> None:
    """Raise InputError if two classes are one number in two spellings: CSV writers turn 1 into 1.0 in a column with gaps."""
    spelled: dict[float, str] = {}
    for label in labels:
        try:
            other = spelled.setdefault(float(label), label)
        except ValueError:
            continue
        if other != label and "." in other + label:
            raise InputError(
                f"target {target!r}: the train rows have the classes {other!r} and {label!r}, one number written in two "
                "ways: write it alike in all files"
            )


def _text_of(position: str, value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, (str, int, np.integer, np.bool_)):
        return str(value)
    if isinstance(value, (float, np.floating)):
        if np.isfinite(value) and value == int(value):
            return str(int(value))
        raise InputError(f'{position} is {value}, which is not a class: {CLASSES_WANTED}; for numbers add loss = "mse"')
    raise InputError(f"{position} is {value!r}, which is not a class: {CLASSES_WANTED}")


def _numbers(label: str, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{label}: y holds {array.dtype}, not numbers: {NUMBERS_WANTED}") from None
    if array.dtype.kind not in "fiub":
        raise InputError(f"{label}: y holds {array.dtype}, not numbers: {NUMBERS_WANTED}")
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    if numbers.ndim == 1:
        numbers = numbers[:, None]
    if numbers.ndim != 2 or numbers.shape[1] == 0:
        raise InputError(f"{label}: y has the shape {array.shape}: {NUMBERS_WANTED}")
    broken = np.argwhere(~np.isfinite(numbers))
    if len(broken):
        sample, column = broken[0]
        raise InputError(
            f"{label}: target {column} of sample {sample} of y is {numbers[sample, column]}: every sample needs its "
            "targets: correct it, or leave the sample out of X and y"
        )
    return numbers
