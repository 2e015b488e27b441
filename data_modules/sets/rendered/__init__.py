"""Draw small data sets, for demos and tests."""
