"""Where a run takes place: connecting to Ray, and placing workers on what is there."""
