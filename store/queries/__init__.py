"""What other rooms read from a store."""
