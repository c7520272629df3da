"""Logistic regressions of embeddings, by the hundred."""
