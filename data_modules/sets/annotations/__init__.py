"""Interpretation of annotation lists: rows, columns, and the evidence for what they mean."""
