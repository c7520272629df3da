"""Encoders: vectors of others in, vectors out, several side by side."""
