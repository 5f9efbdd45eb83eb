"""Prepare one dataset in many tasks: pieces of files, sorted runs, and parts with the same bytes on any cluster."""
