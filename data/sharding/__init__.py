"""One dataset in many tasks: pieces of its files, sorted runs of rows, parts of the same bytes wherever they are made."""
