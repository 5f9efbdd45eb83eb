"""A run that was trained: its result, its errors, its forecasts, and the tables that show them."""
