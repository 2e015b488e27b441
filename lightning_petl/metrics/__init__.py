"""Metrics of classification and retrieval, exact over any number of ranks."""
