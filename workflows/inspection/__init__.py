"""What is in the datasets, how far they lie apart, and the order that this suggests."""
