"""Encoders of a store: vectors in and out, several side by side."""
