"""Ray Train: one worker group walks the relay.

The room is not named `train`: `from workflows import train` is the function.
"""
