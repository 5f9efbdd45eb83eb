"""The story of a run: recipe, learning rate, the chain of epochs, the fit, then Ray Train around it."""
