"""Losses that need more than one line of PyTorch."""
