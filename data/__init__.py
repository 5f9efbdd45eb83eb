"""Read and prepare datasets: Ray Data at the edge, NumPy and Arrow inside."""
