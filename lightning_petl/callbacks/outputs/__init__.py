"""Callbacks that write what a run found."""
