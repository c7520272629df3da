"""Models for elsewhere."""
