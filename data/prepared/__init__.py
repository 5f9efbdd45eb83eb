"""What is written and memory-mapped: shards, manifest, scaling and encoding, the cache."""
