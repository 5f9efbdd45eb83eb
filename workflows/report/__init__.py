"""The page of a run or a search: one HTML file with all that a person wants to know of it."""
