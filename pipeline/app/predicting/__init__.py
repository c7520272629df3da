"""Predictions of a run: what is given, a run in memory, where rows go."""
