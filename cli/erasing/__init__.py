"""Erasing patients, and what they put into states."""
