"""Shards on disk and how vectors are read out of them."""
