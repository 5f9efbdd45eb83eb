"""Connecting to Ray, placing workers on the nodes, and submitting jobs."""
