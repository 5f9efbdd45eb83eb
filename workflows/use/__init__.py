"""What is done with a trained run: its errors, and forecasts from new files."""
