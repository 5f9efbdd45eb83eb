"""Files to checked columns: formats, times, missing values."""
