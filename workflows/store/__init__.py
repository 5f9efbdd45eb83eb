"""Checkpoints, evaluations, runs and leases, on a folder or an object store."""
