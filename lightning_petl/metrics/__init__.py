"""Measure classification and retrieval, exactly over any number of ranks."""
