"""Tables as they lie on disk: CSV, Parquet, JSON lines, gzip; cells to columns."""
