"""Compute the losses that need more than one line of PyTorch."""
