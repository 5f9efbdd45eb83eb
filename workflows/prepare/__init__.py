"""From a recipe to prepared datasets, by Ray Data; inspection of the datasets and the suggested order."""
