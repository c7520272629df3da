"""`retune-cli curve` and `retune-cli audit`: what methods need, and what to look at."""
