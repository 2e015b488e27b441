"""Small data sets that are drawn, for demos and tests."""
