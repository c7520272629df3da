"""Files that a store's vectors go out to, one module per kind of file."""
