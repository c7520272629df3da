"""From chest X-rays and descriptions to features, and from features to adaptors."""
