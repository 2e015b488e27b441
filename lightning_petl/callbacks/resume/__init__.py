"""Callbacks that make a stopped run go on exactly."""
