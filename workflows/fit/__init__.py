"""The fit: one epoch and one evaluation in plain torch, the same on any number of workers, without Ray."""
