"""Data sets of labeled videos."""
