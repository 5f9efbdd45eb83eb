"""Pure PyTorch: the LSTM, its losses and retention terms. Nothing here depends on Ray, files or the training order."""
