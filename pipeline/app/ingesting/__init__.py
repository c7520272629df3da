"""What `ingest` remembers of a table, tells of changes, and proposes."""
