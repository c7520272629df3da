"""retune: incremental learning over cached chest X-ray features."""
