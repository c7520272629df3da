"""Label tables, as they lie on disk, become samples and label states."""
