"""From image files to shards in one process."""
