"""Asking a language model for disease descriptions, and judging what it answers."""
