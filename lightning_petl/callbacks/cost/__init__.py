"""Callbacks that log speed, memory and what trains."""
