"""Callbacks that stop a run which is silently wrong."""
