"""Incremental learning over cached features."""
