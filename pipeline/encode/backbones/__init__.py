"""Frozen image-text models: found, loaded, made fast."""
