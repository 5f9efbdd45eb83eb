"""The chain of epochs: plan and address. The relay decides what comes next, the walker does it."""
