"""The story of a run: recipe, learning rate, the chain of epochs, the fit, then Ray Train around it.

`from workflows import train` is the door for notebooks and scripts: see workflows/python/train.py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workflows.python.train import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """Import what is behind the door only when it is asked for, so that importing a submodule stays light."""
    if name == "train":
        from workflows.python.train import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
