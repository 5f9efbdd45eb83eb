"""The report of a run or a search: one HTML file."""
