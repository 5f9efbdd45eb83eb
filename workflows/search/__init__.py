"""Ray Tune over the recipe: trials that share the store, so that no epoch is trained twice."""
