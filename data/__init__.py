"""What a dataset is and how it is prepared: Ray Data at the edge, NumPy and Arrow inside."""
