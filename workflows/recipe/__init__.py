"""What a run is: all settings, read from TOML, checked as a whole, changed by --set; the built-in recipes."""
