"""Erasing patients, proving it, and what they put into learning."""
