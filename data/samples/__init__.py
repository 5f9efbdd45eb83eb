"""Series to samples: order, grid, gaps, splits, windows, statistics, the naive forecasts."""
