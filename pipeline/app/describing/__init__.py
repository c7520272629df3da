"""Descriptions by a language model, and the sets that they form."""
