"""The data sets: one file each, from its annotation as published to clips."""
