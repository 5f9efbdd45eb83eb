"""What the guard said of a run, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def guard_sentence(word: Any) -> str:
    """A verdict of the guard as result.json has it, in words; a sentence stays as it is."""
    if not isinstance(word, Mapping):
        return str(word)
    attempts = word.get("attempts", [])
    rise = next((each["rise"] for each in attempts if each.get("rise")), None)
    text = f"{word.get('dataset')} raised the error of "
    text += "earlier datasets" if rise is None else f"{rise['dataset']} from {rise['before']:.4f} to {rise['after']:.4f}"
    text += f" and of {rise['others']} more" if rise and rise.get("others") else ""
    text += f", more than the tolerance of {word['tolerance']:g}" if "tolerance" in word else ""
    if word.get("action") == "stop":
        return f"{text}: the run was stopped before this dataset."
    if word.get("action") == "retry":
        tried = "; ".join(
            f"rate {each['learning_rate']:.2g}, strength {each['strength']:g}: mean error "
            + ("unknown" if each.get("mean_scaled_error") is None else f"{each['mean_scaled_error']:.3f}")
            for each in attempts
        )
        return f"{text}: tried {len(attempts)} times ({tried}); attempt {word.get('kept')} is kept."
    return f"{text}."
