"""The Python interface: `from workflows import train` for arrays, lists of sequences, frames and recipes."""
