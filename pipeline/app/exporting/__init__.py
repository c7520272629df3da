"""Models as files for elsewhere."""
