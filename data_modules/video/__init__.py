"""Frames out of files: which packets they need, how they are decoded, and what their planes mean."""
