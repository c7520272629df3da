"""How the embedded backbone mini was made: `make mini`. Nothing else uses it."""
