"""Datasets, what is done to their samples, and how these come in batches."""
