"""Curves and audits: requests become figures, and rows of the store."""
