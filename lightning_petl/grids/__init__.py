"""Expand grids of settings, for the members of a bank, the runs of a sweep, and the jobs of a submission."""
