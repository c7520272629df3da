"""Metrics with intervals, and tests of differences."""
