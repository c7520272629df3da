"""Runs become tables."""
