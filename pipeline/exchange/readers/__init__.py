"""Files with vectors, one module per kind of file."""
