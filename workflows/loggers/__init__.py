"""Who listens to a run: the terminal, the progress file, TensorBoard, a notebook."""
