"""`retune-cli audit`: labels and pictures to look at again."""
