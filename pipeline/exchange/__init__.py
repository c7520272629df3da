"""Vectors that others made come in, and the store's vectors go out, as common files."""
