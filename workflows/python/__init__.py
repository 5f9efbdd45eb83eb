"""The door for Python: `from workflows import train` for arrays, lists of sequences and recipes."""
