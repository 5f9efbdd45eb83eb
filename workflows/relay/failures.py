"""The error of a run that cannot continue, for every room above the relay."""

from data.errors import FailedError


class RunFailedError(FailedError):
    """The run cannot continue; the message says where it stopped. Committed epochs remain."""
