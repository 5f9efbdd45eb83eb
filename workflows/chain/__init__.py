"""The chain of epochs: what comes next, the address of each, and where the store keeps it."""
