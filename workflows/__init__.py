"""The workflows of a run: recipe, preparation, training, search, results, report, command line.

`from workflows import train` is the entry for notebooks and scripts: see workflows/python/train.py.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflows.python.train import load, train

__all__ = ["load", "train"]

ROOT = Path(__file__).resolve().parents[1]


def _shadowed() -> list[str]:
    """Return a message for each of our packages that Python would import from somewhere else."""
    messages = []
    for name in ("data", "models", "cluster"):
        loaded = sys.modules.get(name)
        spec = getattr(loaded, "__spec__", None) if loaded is not None else find_spec(name)
        origin = getattr(loaded, "__file__", None) or (spec.origin if spec is not None else None)
        if origin is None or Path(origin).resolve().parent != ROOT / name:
            messages.append(
                f"lstm-relay: its package {name!r} ({ROOT / name}) is shadowed by {origin or 'a folder on sys.path'}: "
                "rename that file or package, or run from another folder"
            )
    return messages


if _messages := _shadowed():
    if sys.argv[:1] == ["-m"]:  # `python -m workflows`: the message without a traceback, exit code 2
        sys.stderr.write("\n".join(f"error: {message}" for message in _messages) + "\n")
        raise SystemExit(2)
    raise ImportError("\n".join(_messages))


def __getattr__(name: str) -> Any:
    """Import `train` and `load` only when they are used, so that importing a submodule stays quick."""
    if name in __all__:
        from workflows.python import train

        return getattr(train, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
