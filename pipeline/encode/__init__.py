"""Images and descriptions become embeddings in the feature store."""
