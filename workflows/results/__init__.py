"""Finished runs: their results, errors, forecasts, and the tables that show them."""
