"""Taking patients out of every file of a store, in one step seen from outside."""
