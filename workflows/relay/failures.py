"""Why a run cannot go on, as an error that every room above the relay may raise and catch."""


class RunFailedError(Exception):
    """The run cannot go on; the message says where it stopped. What was committed before stands."""
