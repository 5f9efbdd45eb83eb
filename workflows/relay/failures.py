"""Why a run cannot go on, as an error that every room above the relay may raise and catch."""

from data.errors import FailedError


class RunFailedError(FailedError):
    """The run cannot go on; the message says where it stopped. What was committed before stands."""
