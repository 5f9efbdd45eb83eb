"""Pure PyTorch: the LSTM and its losses. Nothing here knows of Ray, of files or of the order of training."""
