"""Everything that changes a store."""
