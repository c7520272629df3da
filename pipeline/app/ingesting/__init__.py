"""What `ingest` remembers of a table, the changes it reports, and what it proposes."""
