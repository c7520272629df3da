"""Which labels and pictures of a store to look at again."""
