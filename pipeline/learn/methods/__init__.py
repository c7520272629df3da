"""How tasks are learned: one file per method."""
