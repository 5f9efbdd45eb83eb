"""The settings of a run: read from TOML, checked as a whole, overridden by --set; and the built-in recipes."""
