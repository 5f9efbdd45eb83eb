"""Observers of a run: terminal, progress file, TensorBoard, MLflow, W&B, notebook."""
